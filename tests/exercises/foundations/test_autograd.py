"""What a right answer to foundations/autograd must do.

Truths: torch.autograd, `F.cross_entropy`, `F.unfold` and `F.conv2d`, plain loops, and what every topological order must satisfy.
"""

import graphlib
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course.testing import Edit, assert_close, assert_equal, assert_finite, assert_true, raises

EXACT = 1e-10  # of float64, relative to the largest expected number


def normal(draw, *shape, dtype=torch.float64, scale=1.0):
    return draw.normal(*shape, dtype=dtype, scale=scale).numpy()


def by_torch(function, inputs, grad):
    """The gradients of the inputs, from that of what `function` makes of them."""
    leaves = [torch.tensor(x).requires_grad_() for x in inputs]
    with torch.enable_grad():
        output = function(*leaves)
        found = torch.autograd.grad(output, leaves, torch.tensor(grad), allow_unused=True, materialize_grads=True)
    return [g.numpy() for g in found]


def sized(pattern, sizes):
    """`"B 1 k"` as a shape."""
    return tuple(sizes[name] if name in sizes else int(name) for name in pattern.split())


# --- rules -------------------------------------------------------------------------------------------------------------


@pytest.mark.stub("unbroadcast")
@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("pattern", ["1 b c", "a 1 c", "a b 1", "1 b 1", "b c", "1 c", "b 1", "c", "1", "", "a b c"])
def test_a_gradient_has_the_shape_of_its_input_again(impl, draw, pattern, square):
    """The gradient of an input that was broadcast is summed over every axis that was stretched."""
    a, b, c = [draw.size()] * 3 if square else [draw.size() for _ in range(3)]
    shape = sized(pattern, {"a": a, "b": b, "c": c})
    grad = normal(draw, a, b, c)
    (expected,) = by_torch(lambda x: x.expand(a, b, c), [np.zeros(shape)], grad)
    hint = "broadcasting lines axes up from the right: sum the axes it put in front, then those of size 1, and keep these"
    assert_close(impl.unbroadcast(grad, shape), expected, tolerance=EXACT, hint=hint, hint_for="values shape")


@pytest.mark.stub("unbroadcast")
def test_shapes_that_do_not_broadcast_are_refused(impl, draw):
    n, m = draw.sizes(2)
    wrong = [
        ((n, m), (m, n)),
        ((1,), (1, 1)),
        ((n, 1), (n, m)),
        ((n,), (n + 1,)),
        ((m, n), (m,)),
        ((1, n), (m, n)),
        ((n,), (n, 1)),
    ]
    assert_equal(impl.unbroadcast(np.ones((n, m)), (n, 1)), np.full((n, 1), float(m)), hint="each number was used m times")
    for have, shape in wrong:
        with raises(
            ValueError, hint=f"an array of shape {shape} is never broadcast to {have}: has the number of elements misled you?"
        ):
            impl.unbroadcast(normal(draw, *have), shape)


@pytest.mark.stub("unbroadcast")
def test_nothing_summed_is_zero(impl, draw):
    n = draw.size()
    hint = "a batch may be empty: the sum over no rows is zero, not missing"
    assert_equal(impl.unbroadcast(np.zeros((0, n)), (1, n)), np.zeros((1, n)), hint=hint)
    assert_equal(impl.unbroadcast(np.zeros((0, n)), (n,)), np.zeros(n), hint=hint)
    assert_equal(impl.unbroadcast(np.zeros((0, n)), (0, 1)), np.zeros((0, 1)), hint=hint)


@pytest.mark.stub("sum_backward")
@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1, -2, (0, 2), (-1, 1), (2, 0, 1), ()])
def test_each_summand_gets_the_gradient_of_its_sum(impl, draw, axis, square):
    a, b, c = [draw.size()] * 3 if square else [draw.size() for _ in range(3)]
    shape = (a, b, c)
    summed = range(3) if axis is None else [i % 3 for i in np.atleast_1d(np.array(axis, dtype=int))]
    for kept in (False, True):
        grad = normal(draw, *np.zeros(shape).sum(axis=axis, keepdims=kept).shape)
        flat = grad.reshape([1 if i in summed else size for i, size in enumerate(shape)])
        expected = np.zeros(shape)
        for place in np.ndindex(*shape):
            expected[place] = flat[tuple(0 if i in summed else at for i, at in enumerate(place))]
        hint = (
            "put the summed axes back with size 1 before you broadcast: lined up from the right, a gradient lands on another axis"
        )
        assert_close(impl.sum_backward(grad, shape, axis), expected, tolerance=EXACT, hint=hint, hint_for="values shape")


@pytest.mark.stub("sum_backward")
def test_all_axes_are_summed_by_default(impl, draw):
    shape, grad = tuple(draw.sizes(3)), normal(draw)
    hint = "`x.sum()` adds up everything, and so its gradient, a single number, goes to every element"
    assert_close(impl.sum_backward(grad, shape), np.full(shape, grad), hint=hint, hint_for="values shape")


@pytest.mark.stub("sum_backward")
def test_a_gradient_of_another_shape_is_refused(impl, draw):
    n, m, k = draw.sizes(3)
    grad = normal(draw, m, k)
    assert_close(
        impl.sum_backward(grad, (n, m, k), 0), np.stack([grad] * n), tolerance=EXACT, hint="each of the summands gets it"
    )
    wrong = [
        ((n, k), 0),
        ((k, m), 0),
        ((m * k,), 0),
        ((n, m, k), 0),
        ((1, k, m), 0),
        ((1,), 0),
        ((), 1),
        ((m, 1), -1),
        ((n,), (0, 1)),
        ((1,), None),
        ((1, 1), None),
    ]
    for have, axis in wrong:
        with raises(
            ValueError, hint=f"the sums of shape ({n}, {m}, {k}) over axis {axis} are not of shape {have}: nothing is stretched"
        ):
            impl.sum_backward(normal(draw, *have), (n, m, k), axis)


@pytest.mark.stub("unbroadcast")
def test_a_sum_in_float32_stays_float32(impl, draw):
    n, m = draw.sizes(2)
    grad = normal(draw, n, m, dtype=torch.float32)
    for shape in ((1, m), (n, 1), (m,), ()):
        (expected,) = by_torch(lambda x: x.expand(n, m), [np.zeros(shape, dtype=np.float32)], grad)
        assert_close(impl.unbroadcast(grad, shape), expected, hint="float32 in, float32 out", hint_for="values dtype")


MATRICES = [
    "n k, k m",
    "B n k, B k m",
    "B n k, k m",
    "n k, B k m",
    "B n k, 1 k m",
    "1 n k, B k m",
    "B H n k, H k m",
    "B 1 n k, H k m",
]
VECTORS = ["k, k", "k, k m", "n k, k", "k, B k m", "B n k, k", "k, B H k m", "B H n k, k"]


def example_of_matmul(draw, pattern, square=False):
    sizes = {name: draw.size() for name in "BHnkm"}
    if square:
        sizes |= dict.fromkeys("nkm", sizes["n"])
    a, b = (normal(draw, *sized(part, sizes)) for part in pattern.split(","))
    return a, b, normal(draw, *(a @ b).shape)


@pytest.mark.stub("matmul_backward")
@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("pattern", MATRICES)
def test_the_gradients_of_a_matrix_product(impl, draw, pattern, square):
    a, b, grad = example_of_matmul(draw, pattern, square)
    mine = impl.matmul_backward(grad, a, b)
    for name, of, truth in zip("ab", mine, by_torch(torch.matmul, [a, b], grad), strict=True):
        hint = "grad bᵀ and aᵀ grad, where only the last two axes change places; a matrix used by a whole batch gets the sum"
        assert_close(of, truth, tolerance=EXACT, hint=hint, what=f"the gradient of {name}", hint_for="values shape")


@pytest.mark.stub("matmul_backward")
@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("pattern", VECTORS)
def test_vectors_are_rows_on_the_left_and_columns_on_the_right(impl, draw, pattern, square):
    a, b, grad = example_of_matmul(draw, pattern, square)
    mine = impl.matmul_backward(grad, a, b)
    for name, of, truth in zip("ab", mine, by_torch(torch.matmul, [a, b], grad), strict=True):
        hint = "make a matrix of the vector and put the missing axis into grad; at the end take it away again"
        assert_close(of, truth, tolerance=EXACT, hint=hint, what=f"the gradient of {name}", hint_for="values shape")


@pytest.mark.stub("matmul_backward")
def test_an_empty_batch_moves_no_weight(impl, draw):
    k, m = draw.sizes(2)
    of_a, of_b = impl.matmul_backward(np.zeros((0, m)), np.zeros((0, k)), normal(draw, k, m))
    assert_equal(of_a, np.zeros((0, k)), what="the gradient of a")
    assert_equal(of_b, np.zeros((k, m)), what="the gradient of b", hint="the sum over no rows is zero")


# --- softmax with cross-entropy ----------------------------------------------------------------------------------------


def check_loss(found, logits, targets, tolerance, hint, **options):
    loss, gradient = found
    z = torch.tensor(logits).requires_grad_()
    with torch.enable_grad():
        expected = F.cross_entropy(z, torch.tensor(targets), **options)
        (slope,) = torch.autograd.grad(expected, z)
    assert_close(loss, expected.detach(), tolerance=tolerance, hint=hint, hint_for="values NaN", what="the loss")
    assert_close(gradient, slope.numpy(), tolerance=tolerance, hint=hint, hint_for="values NaN", what="the gradient")


@pytest.mark.stub("softmax_cross_entropy")
def test_loss_and_gradient_agree_with_torch(impl, draw):
    N, K = draw.batch(), draw.size(2)
    logits, targets = normal(draw, N, K, scale=3), draw.integers(K, (N,)).numpy()
    hint = "−log of the softmax at the target, its mean over rows; the gradient is the softmax, less 1 at the target, over N"
    check_loss(impl.softmax_cross_entropy(logits, targets), logits, targets, EXACT, hint)


@pytest.mark.stub("softmax_cross_entropy")
@pytest.mark.parametrize("ignore", [None, -1, 0, 1, 99])
def test_ignored_rows_count_nothing(impl, draw, ignore):
    N, K = draw.size(3), draw.size(2)
    logits, targets = normal(draw, N, K, scale=3), draw.integers(K, (N,)).numpy()
    mark = -100 if ignore is None else ignore
    targets[draw.permutation(N)[: N // 2].numpy()] = mark
    targets[-1] = 0 if mark else K - 1  # one counts at least
    found = impl.softmax_cross_entropy(logits, targets, *([] if ignore is None else [ignore]))
    hint = "the mean is over the rows that count, so divide by their number; the others have a gradient of zero"
    check_loss(found, logits, targets, EXACT, hint, ignore_index=mark)


@pytest.mark.stub("softmax_cross_entropy")
def test_where_no_row_counts_loss_and_gradient_are_zero(impl, draw):
    N, K = draw.size(), draw.size(2)
    logits = normal(draw, N, K)
    for name, z, targets in (
        ("all rows ignored", logits, np.full(N, -100)),
        ("an empty batch", logits[:0], np.zeros(0, dtype=np.int64)),
    ):
        loss, gradient = impl.softmax_cross_entropy(z, targets)
        assert_finite(np.array(loss), what=f"the loss of {name}", hint="0/0: a batch of padding alone must not spoil the weights")
        assert_close(loss, 0.0, what=f"the loss of {name}")
        assert_close(gradient, np.zeros_like(z), what=f"the gradient of {name}", hint="what does not count moves nothing")


@pytest.mark.stub("softmax_cross_entropy")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_logits_of_any_size_are_safe(impl, draw, dtype):
    """Loss and gradient stay right where exponentials overflow, and where whole rows lie far below others."""
    logits = torch.tensor([[1e4, 0.0, -1e4], [-5000.0, -5001.0, -5000.5], [3e4, 3e4, 0.0], [0.5, 0.25, -1.0]], dtype=dtype)
    order = draw.permutation(4)
    logits, targets = logits[order].numpy(), np.array([2, 1, 0, 0])[order.numpy()]
    hint = "subtract each row's own maximum, and take the logarithm of the sum, not of a softmax that may be 0"
    check_loss(impl.softmax_cross_entropy(logits, targets), logits, targets, 2e-3 if dtype is torch.float32 else EXACT, hint)
    confident = np.array([[1e4, 0.0]]) if dtype is torch.float64 else np.array([[1e4, 0.0]], dtype=np.float32)
    loss, gradient = impl.softmax_cross_entropy(confident, np.array([1]))
    assert_close(loss, 1e4, hint="−log of a probability that rounds to 0 is infinite: stay in logarithms", hint_for="values NaN")
    assert_close(gradient, np.array([[1.0, -1.0]], dtype=confident.dtype), what="the gradient")


@pytest.mark.stub("softmax_cross_entropy")
def test_a_target_that_is_no_class_is_refused(impl, draw):
    N, K = draw.size(2), draw.size(2)
    extremes = np.array([0, K - 1])
    check_loss(
        impl.softmax_cross_entropy(np.zeros((2, K)), extremes), np.zeros((2, K)), extremes, EXACT, "0 and K − 1 are classes"
    )
    for wrong in (-1, -K, K, K + draw.size(), -101):
        targets = draw.integers(K, (N,)).numpy()
        targets[draw.integer(0, N - 1)] = wrong
        with raises(
            ValueError, hint=f"{wrong} is no class of 0 to {K - 1}; as an index, a negative one would count from the end"
        ):
            impl.softmax_cross_entropy(normal(draw, N, K), targets)


# --- convolution -------------------------------------------------------------------------------------------------------

SETTINGS = [(1, 0), (1, 1), (1, 2), (2, 1), (3, 2), (3, 0)]  # stride, padding


def example_of_images(draw, stride, padding, square=False):
    B, C, (K, L) = draw.batch(), draw.size(), ([draw.size(1, 4)] * 2 if square else draw.sizes(2, 1, 4))
    H = max(1, K - 2 * padding) + draw.integer(0, 2 * stride + 1)
    W = H if square else max(1, L - 2 * padding) + draw.integer(0, 2 * stride + 1)
    return normal(draw, B, C, H, W), (K, L)


@pytest.mark.stub("im2col")
@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("setting", SETTINGS)
def test_patches_are_those_of_unfold(impl, draw, setting, square):
    stride, padding = setting
    x, size = example_of_images(draw, stride, padding, square)
    expected = F.unfold(torch.tensor(x), size, stride=stride, padding=padding).numpy()
    hint = "rows: channel, then row, then column within the patch; columns: places of the patch, row by row"
    assert_equal(impl.im2col(x, size, stride, padding), expected, hint=hint)


@pytest.mark.stub("im2col")
def test_by_default_every_place_and_no_padding(impl, draw):
    B, C, H, W = draw.batch(), *draw.sizes(3, 2, 8)
    size = (draw.integer(1, H), draw.integer(1, W))
    x = normal(draw, B, C, H, W)
    assert_equal(impl.im2col(x, size), F.unfold(torch.tensor(x), size).numpy(), hint="stride is 1 and padding 0 unless given")


@pytest.mark.stub("im2col")
def test_images_smaller_than_a_patch_are_refused(impl, draw):
    B, C, padding = draw.batch(), draw.size(), draw.integer(0, 2)
    H, W = draw.sizes(2)
    x = normal(draw, B, C, H, W)
    assert_equal(  # one place, and no more
        impl.im2col(x, (H + 2 * padding, W + 2 * padding), 2, padding),
        F.unfold(torch.tensor(x), (H + 2 * padding, W + 2 * padding), stride=2, padding=padding).numpy(),
        hint="a patch as large as the padded image has exactly one place",
    )
    for size in ((H + 2 * padding + 1, 1), (1, W + 2 * padding + 1)):
        with raises(ValueError, hint=f"{H} × {W} padded by {padding} has no room for {size[0]} × {size[1]}"):
            impl.im2col(x, size, draw.integer(1, 3), padding)


@pytest.mark.stub("im2col")
def test_an_empty_batch_has_empty_columns(impl, draw):
    C, H, W = draw.sizes(3)
    hint = "how many patches there are follows from the sizes; −1 in a reshape cannot tell it of nothing"
    assert_equal(impl.im2col(np.zeros((0, C, H, W)), (2, 1)), np.zeros((0, 2 * C, (H - 1) * W)), hint=hint)


@pytest.mark.stub("conv2d_backward")
@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_gradients_of_a_convolution(impl, draw, setting, square):
    stride, padding = setting
    x, (K, L) = example_of_images(draw, stride, padding, square)
    w = normal(draw, x.shape[1] if square else draw.size(), x.shape[1], K, L)

    def convolved(images, filters):
        return F.conv2d(images, filters, stride=stride, padding=padding)

    grad = normal(draw, *convolved(torch.tensor(x), torch.tensor(w)).shape)
    mine = impl.conv2d_backward(grad, x, w, stride, padding)
    for name, of, truth in zip("xw", mine, by_torch(convolved, [x, w], grad), strict=True):
        hint = "columns and filters as in a matrix product; then every patch gives its share back to the pixels it was cut from, added up"
        assert_close(of, truth, tolerance=EXACT, hint=hint, what=f"the gradient of {name}", hint_for="values shape")


@pytest.mark.stub("conv2d_backward")
def test_a_convolution_has_stride_1_and_no_padding_by_default(impl, draw):
    B, C, O, (H, W) = draw.batch(), draw.size(), draw.size(), draw.sizes(2, 3, 7)
    x, w = normal(draw, B, C, H, W), normal(draw, O, C, 2, 3)
    grad = normal(draw, B, O, H - 1, W - 2)
    mine = impl.conv2d_backward(grad, x, w)
    for name, of, truth in zip("xw", mine, by_torch(F.conv2d, [x, w], grad), strict=True):
        assert_close(of, truth, tolerance=EXACT, what=f"the gradient of {name}", hint="stride is 1 and padding 0 unless given")


@pytest.mark.stub("conv2d_backward")
def test_every_pixel_counts_the_patches_it_lies_in(impl, draw):
    """Of ones everywhere, the gradient of a pixel is the number of patches that hold it."""
    H, W = draw.sizes(2, 4, 8)
    of_x, of_w = impl.conv2d_backward(np.ones((1, 1, H - 2, W - 2)), np.ones((1, 1, H, W)), np.ones((1, 1, 3, 3)))
    rows, columns = ([min(i + 1, 3, n - i, n - 2) for i in range(n)] for n in (H, W))
    expected = np.array([[[[float(r * c) for c in columns] for r in rows]]])
    assert_close(
        of_x, expected, what="the gradient of x", hint="patches overlap: add, where an assignment would keep the last one"
    )
    assert_close(of_w, np.full((1, 1, 3, 3), float((H - 2) * (W - 2))), what="the gradient of w")


@pytest.mark.stub("conv2d_backward")
def test_no_images_give_filters_no_gradient(impl, draw):
    C, O = draw.sizes(2)
    of_x, of_w = impl.conv2d_backward(np.zeros((0, O, 3, 4)), np.zeros((0, C, 4, 5)), normal(draw, O, C, 2, 2))
    assert_equal(of_x, np.zeros((0, C, 4, 5)), what="the gradient of x")
    assert_equal(
        of_w, np.zeros((O, C, 2, 2)), what="the gradient of w", hint="a batch may be empty: the sum over no images is zero"
    )


# --- the graph ---------------------------------------------------------------------------------------------------------

GRAPHS = {
    "a leaf": [()],
    "a chain": [(), (0,), (1,), (2,)],
    "a diamond": [(), (0,), (0,), (1, 2)],
    "an operand twice": [(), (0, 0), (1, 1)],
    "a short way and a long one": [(), (0,), (1,), (2,), (0, 3), (4, 1)],
    "the long way first": [(), (0,), (1,), (2,), (3, 0), (1, 4)],
    "a ladder": [(), (), (0, 1), (1, 0), (2, 3), (3, 2), (4, 5), (5, 4), (6, 7)],
    "three parents": [(), (), (), (0, 1, 2), (3, 2, 0), (4, 3, 1)],
}


def ancestors(parents, root):
    found, waiting = {root}, [root]
    while waiting:
        new = set(parents[waiting.pop()]) - found
        found |= new
        waiting += new
    return found


def numbers_of(order):
    """The data of nodes, each of which is a single number."""
    assert_true(
        isinstance(order, list) and all(callable(getattr(node, "numpy", None)) for node in order),
        "the order is no list of nodes",
        hint="a list of the nodes themselves, from leaves to root",
    )
    return [float(node.numpy()) for node in order]


def check_order(impl, draw, parents, root):
    names = [float(n) for n in draw.permutation(len(parents))]  # so that no order can be read off the data
    nodes = []
    for made_of, name in zip(parents, names, strict=True):
        nodes.append(impl.Node(np.array(name), tuple(nodes[p] for p in made_of)))
    order = impl.topological_order(nodes[root])
    came = [names.index(number) for number in numbers_of(order)]
    wanted = ancestors(parents, root)
    hint = "each node once, however many use it: remember by identity which ones you have met"
    assert_true(len(set(came)) == len(came), "a node comes more than once", hint=hint)
    hint = "all that the root is computed from, and itself; nothing that uses the root, or has nothing to do with it"
    assert_true(set(came) == wanted, "the order does not hold just the nodes that the root is computed from", hint=hint)
    for place, node in enumerate(came):
        late = [p for p in parents[node] if came.index(p) > place]
        hint = "a node may be put down only after ALL of its parents: by distance from the root that fails where a way is short and another long"
        assert_true(not late, "a node comes before one that it is computed from", hint=hint)


@pytest.mark.stub("topological_order")
@pytest.mark.parametrize("graph", list(GRAPHS))
def test_parents_come_before_children(impl, draw, graph):
    check_order(impl, draw, GRAPHS[graph], len(GRAPHS[graph]) - 1)


@pytest.mark.stub("topological_order")
def test_any_graph_and_any_root(impl, draw):
    """In a random graph every node comes once, after all of its parents, and no stranger does."""
    N = draw.integer(6, 14)
    parents = [tuple(draw.integer(0, n - 1) for _ in range(draw.integer(0, 3))) if n else () for n in range(N)]
    check_order(impl, draw, parents, draw.integer(N // 2, N - 1))


@pytest.mark.stub("topological_order")
def test_the_second_order_is_as_the_first(impl):
    shared = impl.Node(1.0, (impl.Node(2.0),))
    one, other = impl.Node(3.0, (shared,)), impl.Node(4.0, (shared, shared))
    for root, name in ((one, 3.0), (one, 3.0), (other, 4.0)):
        came = numbers_of(impl.topological_order(root))
        hint = "a mark on a node is still there in the next walk: remember what was met in a set of this call"
        assert_equal(came, [2.0, 1.0, name], hint=hint, what="the order")


@pytest.mark.stub("topological_order")
def test_equal_numbers_are_not_one_node(impl):
    a, b = impl.Node(np.array(2.0)), impl.Node(np.array(2.0))
    order = impl.topological_order(impl.Node(np.array(2.0), (a, b)))
    assert_true(
        len(order) == 3, "three nodes of equal data are not all there", hint="nodes are told apart by identity, not by data"
    )


@pytest.mark.stub("topological_order")
def test_a_chain_of_4000_nodes_is_ordered(impl):
    node = impl.Node(0.0)
    for _ in range(3999):
        node = impl.Node(0.0, (node,))
    try:
        order = impl.topological_order(node)
    except AssertionError as error:
        error.hint = "a function that calls itself for each parent ends at a depth of 1000: keep the nodes that wait in a list"
        raise
    assert_true(len(order) == 4000, "the order does not hold all nodes of a long chain", hint="walk on until no node waits")


# --- backward ----------------------------------------------------------------------------------------------------------


class Torch:
    """torch under the names of `Value`."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __getattr__(self, name):
        method = {"add": torch.add, "multiply": torch.mul}.get(name) or getattr(torch, name)
        return lambda *args: Torch(method(self.tensor, *(a.tensor if isinstance(a, Torch) else a for a in args)))

    def reshape(self, *shape):
        return Torch(self.tensor.reshape(shape))


EXPRESSIONS = {
    "a product": lambda a, b: a.multiply(b),
    "an operand twice": lambda a, b: a.add(a).multiply(b),
    "a square": lambda a, b: a.multiply(a).add(b),
    "a matrix with itself": lambda a, b: a.matmul(a).matmul(b),
    "a node used later": lambda a, b: (s := a.add(b)).add(a).multiply(s),
    "a short way and a long one": lambda a, b: (s := a.multiply(b)).tanh().exp().tanh().add(s),
    "the long way first": lambda a, b: (s := a.tanh()).add(s.exp().tanh().multiply(b)).multiply(s),
    "sums that share": lambda a, b: (s := a.add(b)).add(s).add(a),
    "views that share": lambda a, b: (s := a.reshape(-1)).add(s).add(b.reshape(-1)).add(s),
    "both ways": lambda a, b: (p := a.matmul(b)).multiply(q := b.matmul(a)).add(p.add(q)).add(a),
}


def example_of_leaves(impl, draw, dtype=torch.float64):
    n = draw.size()
    arrays = [normal(draw, n, n, dtype=dtype), normal(draw, n, n, dtype=dtype)]
    return arrays, [impl.Value(array) for array in arrays]


def check_gradients(leaves, expected, hint, times=1, **options):
    for name, leaf, truth in zip("ab", leaves, expected, strict=False):
        assert_close(leaf.gradient(), times * truth, hint=hint, what=f"the gradient of {name}", **options)


@pytest.mark.stub("Value.backward")
@pytest.mark.parametrize("name", list(EXPRESSIONS))
def test_gradients_of_an_expression_agree_with_torch(impl, draw, name):
    arrays, leaves = example_of_leaves(impl, draw)
    output = EXPRESSIONS[name](*leaves)
    grad = normal(draw, *output.numpy().shape)
    output.backward(grad)
    expected = by_torch(lambda a, b: EXPRESSIONS[name](Torch(a), Torch(b)).tensor, arrays, grad)
    hint = "a node's gradient is the sum over all who use it, and is complete only when they have all been passed; write into no share"
    check_gradients(leaves, expected, hint, tolerance=EXACT)


@pytest.mark.stub("Value.backward")
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_single_number_begins_with_1(impl, draw, shape):
    arrays, leaves = example_of_leaves(impl, draw)
    leaves[0].multiply(leaves[1]).multiply(leaves[0]).sum().reshape(*shape).backward()
    a, b = arrays
    check_gradients(leaves, [2 * a * b, a * a], "without a gradient given, ∂L/∂L = 1 in the shape of L", hint_for="values shape")


@pytest.mark.stub("Value.backward")
def test_gradients_add_up_until_they_are_cleared(impl, draw):
    arrays, leaves = example_of_leaves(impl, draw)
    a, b = arrays
    leaves[0].multiply(leaves[1]).sum().backward()
    leaves[0].multiply(leaves[0]).sum().backward()
    check_gradients(
        leaves, [b + 2 * a, a], "a leaf adds what arrives to what it has, as in PyTorch: a second loss may use it too"
    )
    leaves[0].clear()
    leaves[0].multiply(leaves[1]).sum().backward()
    check_gradients(leaves, [b, 2 * a], "a leaf that was cleared begins at zero again")


@pytest.mark.stub("Value.backward")
def test_only_leaves_keep_a_gradient(impl, draw):
    _, leaves = example_of_leaves(impl, draw)
    middle = leaves[0].multiply(leaves[1])
    end = middle.tanh().sum()
    for kept in (True, False):
        end.backward(keep_graph=kept)
        hint = "what an inner node collects is used up when its rule is called; kept, it would count again in the next walk"
        for name, node in (("an inner node", middle), ("the end", end)):
            assert_equal(node.gradient(), np.zeros_like(node.numpy()), what=f"the gradient of {name}", hint=hint)


@pytest.mark.stub("Value.backward")
def test_a_kept_graph_can_be_walked_again(impl, draw):
    arrays, leaves = example_of_leaves(impl, draw)
    output = EXPRESSIONS["a short way and a long one"](*leaves)
    first, second = normal(draw, *arrays[0].shape), normal(draw, *arrays[0].shape)
    output.backward(first, keep_graph=True)
    output.backward(second)
    expected = by_torch(lambda a, b: EXPRESSIONS["a short way and a long one"](Torch(a), Torch(b)).tensor, arrays, first + second)
    check_gradients(leaves, expected, "with keep_graph=True nothing is freed, and nothing is left over from the first walk")
    with raises(RuntimeError, hint="the second walk was without keep_graph, so it freed the graph"):
        output.backward(first)


@pytest.mark.stub("Value.backward")
def test_a_graph_is_freed_by_its_walk(impl, draw):
    _, leaves = example_of_leaves(impl, draw)
    middle = leaves[0].multiply(leaves[1])
    end = middle.tanh().sum()
    end.backward()
    for name, node in (("the end", end), ("an inner node", middle)):
        hint = (
            "call node.free() once its rule was used: a loss that is kept for a curve must not keep the arrays of its whole graph"
        )
        assert_true(len(impl.topological_order(node)) == 1, f"{name} still holds on to what it was computed from", hint=hint)


@pytest.mark.stub("Value.backward")
def test_a_freed_graph_is_refused_before_anything_is_changed(impl, draw):
    arrays, leaves = example_of_leaves(impl, draw)
    shared = leaves[0].multiply(leaves[1])
    one, other = shared.sum(), leaves[0].tanh().add(shared.exp()).add(leaves[1].exp()).sum()
    one.backward()
    for name, again in (("the same number", one), ("another one that uses the same product", other)):
        with raises(RuntimeError, hint=f"backward of {name}: a part of its graph is gone, so its gradients would be too small"):
            again.backward()
    check_gradients(leaves, arrays[::-1], "look for freed nodes before the first gradient is added")
    leaves[0].tanh().add(leaves[1].exp()).sum().backward()  # leaves are never freed
    a, b = arrays
    check_gradients(leaves, [b + 1 - np.tanh(a) ** 2, a + np.exp(b)], "leaves are there for the next graph too")


@pytest.mark.stub("Value.backward")
def test_a_gradient_that_does_not_fit_is_refused(impl, draw):
    n, m = draw.sizes(2)
    a, b = impl.Value(normal(draw, n, m)), impl.Value(normal(draw, n, m))
    output = a.multiply(b)
    with raises(ValueError, hint=f"an output of shape ({n}, {m}) has no gradient of its own: ones would be those of its sum"):
        output.backward()
    for shape in ((m, n), (m,), (n, 1), (), (n * m,), (1, n, m)):
        with raises(ValueError, hint=f"the output has shape ({n}, {m}), the gradient {shape}: nothing may be broadcast here"):
            output.backward(normal(draw, *shape))
    with raises(ValueError, hint="nothing is no single number: an empty output needs a gradient, though an empty one"):
        impl.Value(np.zeros((0, m))).tanh().backward()
    with raises(ValueError, hint="a single number without axes has no gradient of shape (1,)"):
        output.sum().backward(np.ones(1))
    hint = "what was refused has added nothing, and freed nothing"
    for leaf in (a, b):
        assert_equal(leaf.gradient(), np.zeros((n, m)), hint=hint)
    grad = normal(draw, n, m)
    output.backward(grad)
    assert_close(a.gradient(), grad * b.numpy(), hint=hint)


@pytest.mark.stub("Value.backward")
def test_a_leaf_is_its_own_graph(impl, draw):
    n = draw.size()
    leaf, grad = impl.Value(normal(draw, n)), normal(draw, n)
    for times in (1, 2, 3):
        leaf.backward(grad)
        assert_close(leaf.gradient(), times * grad, hint="of itself, a leaf has the gradient that is given; it is never freed")
    for shape in ((n + 1,), (n, 1), (1, n)):
        with raises(ValueError, hint=f"the leaf has shape ({n},), the gradient {shape}: a leaf refuses it like any other node"):
            leaf.backward(normal(draw, *shape))
    assert_close(leaf.gradient(), 3 * grad, hint="what was refused has added nothing")
    one, other = impl.Value(normal(draw, n)), impl.Value(normal(draw, n))
    for each in (one, other):
        each.backward(grad)
    one.scale_gradient(0.5)
    assert_close(other.gradient(), grad, hint="the array that was given is not the leaf's own: keep a copy")


@pytest.mark.stub("Value.backward")
def test_two_leaves_never_share_one_array(impl, draw):
    arrays, leaves = example_of_leaves(impl, draw)
    grad = normal(draw, *arrays[0].shape)
    leaves[0].add(leaves[1]).backward(grad)
    leaves[0].scale_gradient(0.5)
    hint = "the rule of a sum hands one array to both: keep a copy, or clipping one gradient in place clips the other"
    check_gradients(leaves, [grad / 2, grad], hint)


@pytest.mark.stub("Value.backward")
def test_float32_stays_float32(impl, draw):
    arrays, leaves = example_of_leaves(impl, draw, torch.float32)
    leaves[0].multiply(leaves[1]).add(leaves[0]).sum().backward()
    a, b = arrays
    check_gradients(leaves, [b + 1, a], "begin with a one of the dtype of the data", hint_for="values dtype")


@pytest.mark.stub("Value.backward")
def test_the_gradient_of_a_recurrence_is_a_sum_over_time(impl, draw):
    n, steps = draw.size(), draw.integer(3, 8)
    arrays = [normal(draw, 2, n), normal(draw, n, n, scale=n**-0.5)]
    leaves = [impl.Value(array) for array in arrays]
    grad = normal(draw, 2, n)
    impl.unrolled(*leaves, steps).backward(grad)

    def recurrence(h, w):
        for _ in range(steps):
            h = (h @ w).tanh()
        return h

    hint = "the weight is used at every step, and gets a share from each"
    check_gradients(leaves, by_torch(recurrence, arrays, grad), hint, tolerance=EXACT)


@pytest.mark.stub("Value.backward")
def test_a_long_recurrence_is_walked(impl):
    """A recurrence of 2000 steps is no deeper than one of three: no recursion."""
    h, w = impl.Value(np.full((1, 1), 0.5)), impl.Value(np.full((1, 1), 1.0))
    state, slope_h, slope_w = 0.5, 1.0, 0.0
    for _ in range(2000):
        before, state = state, np.tanh(state)
        slope_h, slope_w = slope_h * (1 - state**2), (slope_w + before) * (1 - state**2)
    impl.unrolled(h, w, 2000).backward()
    hint = "h ← tanh(h w), 2000 times: each step multiplies what arrives from behind by w (1 − h²)"
    check_gradients([h, w], [np.array([[slope_h]]), np.array([[slope_w]])], hint)


# --- wrong answers -----------------------------------------------------------------------------------------------------


def unbroadcast_by(reduce, *, lead=True, check=True):
    """Axis by axis, with one thing done otherwise."""

    def wrong(grad, shape):
        if check and np.broadcast_shapes(grad.shape, shape) != grad.shape:
            raise ValueError("no broadcast")
        while lead and grad.ndim > len(shape):
            grad = reduce(grad, 0, False)
        for i, size in enumerate(shape):
            if size == 1 and grad.shape[i] != 1:
                grad = reduce(grad, i, True)
        return np.asarray(grad)

    return wrong


def from_the_left(grad, shape):
    """Lines axes up from the left."""
    if np.broadcast_shapes(grad.shape, shape) != grad.shape:
        raise ValueError
    full = (*shape, *[1] * (grad.ndim - len(shape)))
    stretched = tuple(i for i, size in enumerate(full) if size == 1)
    return np.resize(grad.sum(axis=stretched), shape)


def by_size(grad, shape):
    """Guesses the axes by their sizes: right where all sizes differ."""
    if np.broadcast_shapes(grad.shape, shape) != grad.shape:
        raise ValueError
    left = list(shape)
    for axis in range(grad.ndim - 1, -1, -1):
        if grad.shape[axis] in left:
            left.remove(grad.shape[axis])
        else:
            grad = grad.sum(axis=axis, keepdims=True)
    return grad.reshape(-1)[: math.prod(shape)].reshape(shape)


def matmul_by(turn, summed=None):
    def wrong(grad, a, b):
        left, right = (a[None, :] if a.ndim == 1 else a), (b[:, None] if b.ndim == 1 else b)
        if b.ndim == 1:
            grad = np.expand_dims(grad, -1)
        if a.ndim == 1:
            grad = np.expand_dims(grad, -2)
        found = []
        for of, like, x in ((grad @ turn(right), left, a), (turn(left) @ grad, right, b)):
            axes = range(of.ndim - 2)
            extra = tuple(i for i in axes if i < of.ndim - like.ndim or like.shape[i - of.ndim] == 1 < of.shape[i])
            of = (summed or np.sum)(of, axis=extra, keepdims=True) if extra else of
            found.append(of.reshape(x.shape))
        return tuple(found)

    return wrong


def entropy_by(*, shift=True, ignored=True, mean=True, rows=True, check=True, base=1.0):
    """A loss and its gradient, with one thing done otherwise."""

    def wrong(logits, targets, ignore=-100):
        count = targets != ignore if ignored else targets != -100
        if check and ((targets[count] < 0) | (targets[count] >= logits.shape[1])).any():
            raise ValueError
        top = logits.max(axis=1, keepdims=True) if rows else logits.max(initial=0)
        z = logits - top if shift else logits
        e = np.exp(z)
        p = e / e.sum(axis=1, keepdims=True)
        n = max(int(count.sum()) if mean else len(targets), 1)
        index = np.flatnonzero(count)
        loss = -np.log(p[index, targets[index]]).sum() / n / base
        p[index, targets[index]] -= 1
        return float(loss), p * count[:, None].astype(logits.dtype) / n

    return wrong


def im2col_by(order, *, mode="constant", swap=False):
    """Patches cut out one by one; `order` puts the axes B, C, K, L, H', W' into theirs."""

    def wrong(x, size, stride=1, padding=0):
        K, L = size[::-1] if swap else size
        if min(x.shape[2] + 2 * padding - K, x.shape[3] + 2 * padding - L) < 0:
            raise ValueError
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)), mode=mode)
        H, W = (x.shape[2] - K) // stride + 1, (x.shape[3] - L) // stride + 1
        out = np.zeros((*x.shape[:2], K, L, H, W), dtype=x.dtype)
        for k, l in np.ndindex(K, L):
            out[:, :, k, l] = x[:, :, k : k + stride * H : stride, l : l + stride * W : stride]
        return out.transpose(order).reshape(len(x), x.shape[1] * K * L, H * W)

    return wrong


def conv_by(*, add=True, flip=False, mean=False, crop=True, step=None, square=False):
    """Pixel by pixel, with one thing done otherwise."""

    def wrong(grad, x, w, stride=1, padding=0):
        (B, _, H, W), (_, _, K, L) = x.shape, w.shape
        s = stride if step is None else step
        L = K if square else L
        p = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
        of_x, of_w = np.zeros_like(p), np.zeros_like(w)
        turned = w[:, :, ::-1, ::-1] if flip else w
        for i, j in np.ndindex(*grad.shape[2:]):
            g, place = grad[:, :, i, j], (slice(None), slice(None), slice(i * s, i * s + K), slice(j * s, j * s + L))
            of_w += np.einsum("bo,bckl->ockl", g, p[place])
            if add:
                of_x[place] += np.einsum("bo,ockl->bckl", g, turned)
            else:
                of_x[place] = np.einsum("bo,ockl->bckl", g, turned)
        start = padding if crop else 0
        return of_x[:, :, start : start + H, start : start + W], of_w / max(B, 1) if mean else of_w

    return wrong


def reversed_preorder(root):
    """Right for trees: a node is put down when it is met first."""
    seen, order, waiting = set(), [], [root]
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen.add(id(node))
            order.append(node)
            waiting.extend(node.parents)
    return order[::-1]


def by_distance(root):
    """Right where all ways from a node to the root are equally long."""
    order, level, seen = [], [root], {id(root)}
    while level:
        order += level
        new = []
        for parent in (p for node in level for p in node.parents):
            if id(parent) not in seen:
                seen.add(id(parent))
                new.append(parent)
        level = new
    return order[::-1]


def recursive(root):
    """Right, but only as deep as Python goes."""
    order, seen = [], set()

    def visit(node):
        if id(node) in seen:
            return
        seen.add(id(node))
        for parent in node.parents:
            visit(parent)
        order.append(node)

    visit(root)
    return order


def postorder(root, *, once=True, key=id, parents=lambda node: node.parents):
    """A stack of nodes and whether their parents are done, with one thing done otherwise."""
    order, seen, waiting = [], set(), [(root, False)]
    while waiting:
        node, done = waiting.pop()
        if done:
            order.append(node)
        elif not once or key(node) not in seen:
            seen.add(key(node))
            waiting.append((node, True))
            waiting += [(p, False) for p in parents(node)]
    return order


def marking_order(root):
    """Right once: what was met is marked for ever."""
    order, waiting = [], [root]
    while waiting:
        waiting[-1].met = True
        ahead = next((p for p in waiting[-1].parents if not getattr(p, "met", False)), None)
        if ahead is None:
            order.append(waiting.pop())
        else:
            waiting.append(ahead)
    return order


def walked(self, grad=None, *, keep_graph=False, order=None, refuse=True, spread=True, late=False, inner=False):
    """Backward with a plain loop, with one thing done otherwise."""
    if refuse and grad is None and self.data.size != 1:
        raise ValueError("no gradient")
    grad = np.ones_like(self.data) if grad is None else grad
    if spread and grad.shape != self.data.shape:
        raise ValueError("another shape")
    grad = np.broadcast_to(grad, self.data.shape)
    nodes = (order or postorder)(self)
    if not late and any(node.freed for node in nodes):
        raise RuntimeError("freed")
    found = {id(node): np.zeros_like(node.data) for node in nodes}
    found[id(self)] = grad
    for node in reversed(nodes):
        if node.freed:
            raise RuntimeError("freed")
        total = found[id(node)]
        if node.rule is None or inner:
            node.grad = np.array(total) if node.grad is None else node.grad + total
        if node.rule is not None:
            for parent, share in zip(node.parents, node.rule(total), strict=True):
                found[id(parent)] = found[id(parent)] + share
            if not keep_graph:
                node.free()


def every_way(self, grad=None, *, keep_graph=False):
    """Each way from the end to a leaf by itself: the right numbers, but a function that calls itself."""
    if grad is None and self.data.size != 1:
        raise ValueError("no gradient")
    grad = np.ones_like(self.data) if grad is None else grad
    if grad.shape != self.data.shape:
        raise ValueError("another shape")
    nodes = postorder(self)
    if any(node.freed for node in nodes):
        raise RuntimeError("freed")

    def visit(node, arrived):
        if node.rule is None:
            node.grad = np.array(arrived) if node.grad is None else node.grad + arrived
            return
        for parent, share in zip(node.parents, node.rule(arrived), strict=True):
            visit(parent, share)

    visit(self, grad)
    for node in nodes:
        if node.rule is not None and not keep_graph:
            node.free()


SHARE = "arriving[id(parent)] = arriving[id(parent)] + share if id(parent) in arriving else share"
LEAF = "node.grad = np.array(total) if node.grad is None else node.grad + total"
FAKES = {
    "unbroadcast": {
        "the mean": unbroadcast_by(lambda g, axis, keep: g.mean(axis=axis, keepdims=keep)),
        "the first one": unbroadcast_by(lambda g, axis, keep: g.take([0], axis) if keep else g.take(0, axis)),
        "only the axes in front": Edit("if size == 1:", "if False:"),
        "only the axes of size 1": Edit("grad.ndim > len(shape)", "False"),
        "lined up from the left": from_the_left,
        "axes told by their sizes": by_size,
        "whatever has as many elements": unbroadcast_by(lambda g, axis, keep: g.sum(axis=axis, keepdims=keep), check=False),
        "summed where nothing was stretched": Edit("if size == 1:", "if size <= 2:"),
        "in float64": Edit("grad.sum(axis=axis, keepdims=True)", "grad.sum(axis=axis, keepdims=True, dtype=np.float64)"),
        "axes that are gone": Edit("keepdims=True", "keepdims=False"),
    },
    "sum_backward": {
        "broadcast as it comes": lambda grad, shape, axis=None: np.broadcast_to(grad, shape).copy(),
        "the gradient of the mean": Edit("grad.reshape(kept)", "grad.reshape(kept) * (math.prod(kept) / math.prod(shape))"),
        "negative axes are others": Edit("i % len(shape)", "abs(i)"),
        "one axis of several": Edit("else axis\n", "else axis[:1]\n"),
        "only where the axes were kept": lambda grad, shape, axis=None: grad + np.zeros(shape),
        "the last axis by default": Edit("range(len(shape)) if axis is None", "(len(shape) - 1,) if axis is None"),
        "any gradient of as many elements": Edit("grad.shape != kept and grad.shape != left", "grad.size != np.prod(kept)"),
        "only without the axes": Edit("grad.shape != kept and ", ""),
        "in float64": Edit("grad.reshape(kept)", "grad.reshape(kept).astype(np.float64)"),
        "any single number for the sum of all": lambda grad, shape, axis=None: (
            np.broadcast_to(grad.reshape(()), shape) if axis is None else expanded_sum_backward(grad, shape, axis)
        ),
        "a gradient that is only long enough": lambda grad, shape, axis=None: np.resize(grad, shape),
    },
    "matmul_backward": {
        "not transposed": matmul_by(lambda x: x),
        "all axes reversed": matmul_by(lambda x: x.T),
        "the mean over the batch": matmul_by(lambda x: np.swapaxes(x, -1, -2), np.mean),
        "the last of the batch": matmul_by(
            lambda x: np.swapaxes(x, -1, -2), lambda x, axis, keepdims: x.max(axis=axis, keepdims=True)
        ),
        "the two exchanged": lambda grad, a, b: matmul_by(lambda x: np.swapaxes(x, -1, -2))(grad, a, b)[::-1],
        "no vectors": lambda grad, a, b: (grad @ np.swapaxes(b, -1, -2), np.swapaxes(a, -1, -2) @ grad),
        "no batches": lambda grad, a, b: (grad @ b.T, a.T @ grad),
        "a vector on the right is a row": Edit("b[:, None] if b.ndim == 1", "b[None, :] if b.ndim == 1"),
        "grad transposed": Edit("np.swapaxes(left, -1, -2) @ grad", "np.swapaxes(np.swapaxes(left, -1, -2) @ grad, -1, -2)"),
        "weights summed over nothing": Edit(
            "of_right = unbroadcast(", "of_right = (lambda g, shape: g[(0,) * (g.ndim - len(shape))])("
        ),
    },
    "softmax_cross_entropy": {
        "a sum": Edit("count = max(len(rows), 1)", "count = 1"),
        "the mean over all rows": entropy_by(mean=False),
        "no maximum subtracted": entropy_by(shift=False),
        "one maximum for all": entropy_by(rows=False),
        "the logarithm of a softmax": entropy_by(),
        "in bits": entropy_by(base=math.log(2)),
        "always -100": entropy_by(ignored=False),
        "nothing ignored": lambda logits, targets, ignore=-100: entropy_by(ignored=True)(logits, targets, ignore=-(10**6)),
        "negative targets count from the end": entropy_by(check=False),
        "the gradient of the sum": Edit("slope / count", "slope"),
        "no row counts: 0/0": Edit("max(len(rows), 1)", "np.float64(len(rows))"),
        "softmax without its target": Edit("slope[np.arange(len(rows)), wanted] -= 1", "pass"),
        "the class after the last": Edit("wanted >= logits.shape[1]", "wanted > logits.shape[1]"),
        "-1 ignored besides": Edit("targets != ignore", "(targets != ignore) & (targets != -1)"),
        "the gradient in float64": Edit("np.zeros_like(logits)", "np.zeros(logits.shape)"),
    },
    "im2col": {
        "channels last within a patch": im2col_by((0, 2, 3, 1, 4, 5)),
        "columns before rows": im2col_by((0, 1, 3, 2, 4, 5)),
        "places column by column": im2col_by((0, 1, 2, 3, 5, 4)),
        "the edge repeated": im2col_by((0, 1, 2, 3, 4, 5), mode="edge"),
        "height and width exchanged": im2col_by((0, 1, 2, 3, 4, 5), swap=True),
        "the stride of one axis": Edit("j : j + stride * columns : stride", "j : j + columns"),
        "always every place": Edit("x = bordered(x, padding)", "x, stride = bordered(x, padding), 1"),
        "padded behind only": Edit("bordered(x, padding)", "np.pad(x, ((0, 0), (0, 0), (0, 2 * padding), (0, 2 * padding)))"),
        "padded in front only": Edit("bordered(x, padding)", "np.pad(x, ((0, 0), (0, 0), (2 * padding, 0), (2 * padding, 0)))"),
        "no patch of the full size": Edit("rows < 1", "rows < 2"),
        "no patches where there is no room": Edit("rows < 1 or columns < 1", "False"),
        "the batch among the columns": im2col_by((1, 2, 3, 0, 4, 5)),
        "no empty batch": Edit("rows * columns)", "-1)"),
        "in float64": Edit("bordered(x, padding)", "bordered(x.astype(np.float64), padding)"),
    },
    "conv2d_backward": {
        "overwritten where patches overlap": conv_by(add=False),
        "a filter that is turned": conv_by(flip=True),
        "the mean over the batch": conv_by(mean=True),
        "the padding left on": conv_by(crop=False),
        "stride 1 always": conv_by(step=1),
        "only for square filters": conv_by(square=True),
        "of one image": Edit('"bop,bdp->od", flat', '"bop,bdp->od", flat[:1]'),
        "assigned": Edit("+= shares", "= shares"),
        "the two exchanged": lambda grad, x, w, stride=1, padding=0: conv_by()(grad, x, w, stride, padding)[::-1],
        "the padding forgotten for the filters": Edit(
            "im2col(x, (K, L), stride, padding)",
            "im2col(np.pad(x, ((0, 0), (0, 0), (0, 2 * padding), (0, 2 * padding))), (K, L), stride)",
        ),
        "channels of the output first": Edit("w.reshape(O, C * K * L).T", "w.reshape(C * K * L, O)"),
        "in float64": Edit("np.zeros_like(x)", "np.zeros(x.shape)"),
    },
    "topological_order": {
        "a node when it is met first": reversed_preorder,
        "by distance": by_distance,
        "a recursion": recursive,
        "from root to leaves": lambda root: postorder(root)[::-1],
        "once for each use": lambda root: postorder(root, once=False),
        "equal data taken for one node": lambda root: postorder(root, key=lambda node: node.data.tobytes()),
        "the first parent alone": lambda root: postorder(root, parents=lambda node: node.parents[:1]),
        "two parents at most": lambda root: postorder(root, parents=lambda node: node.parents[:2]),
        "marks left on the nodes": marking_order,
        "no leaves": lambda root: [node for node in postorder(root) if node.parents],
        "without the root": lambda root: postorder(root)[:-1],
        "the data only": lambda root: [node.data for node in postorder(root)],
    },
    "Value.backward": {
        "the last share alone": Edit(SHARE, "arriving[id(parent)] = share"),
        "the first share alone": Edit(SHARE, "arriving.setdefault(id(parent), share)"),
        "shares added in place": Edit(
            SHARE,
            "arriving[id(parent)] = np.add(arriving[id(parent)], share, out=np.asarray(arriving[id(parent)])) if id(parent) in arriving else share",
        ),
        "a leaf forgets what it had": Edit(LEAF, "node.grad = np.array(total)"),
        "leaves share an array": Edit(LEAF, "node.grad = total if node.grad is None else node.grad + total"),
        "always ones": Edit("np.ones_like(self.data) if grad is None else grad", "np.ones_like(self.data)"),
        "ones for any shape": lambda self, grad=None, *, keep_graph=False: walked(
            self, grad, keep_graph=keep_graph, refuse=False
        ),
        "a gradient that broadcasts": lambda self, grad=None, *, keep_graph=False: walked(
            self, grad, keep_graph=keep_graph, spread=False
        ),
        "a leaf takes any shape": Edit(
            "seed.shape != self.data.shape", "self.rule is not None and seed.shape != self.data.shape"
        ),
        "nothing is a single number too": Edit("self.data.size != 1", "self.data.size > 1"),
        "never freed": Edit("if not keep_graph:", "if False:"),
        "always freed": Edit("if not keep_graph:", "if True:"),
        "the end alone freed": Edit("if not keep_graph:", "if not keep_graph and node is self:"),
        "refused too late": lambda self, grad=None, *, keep_graph=False: walked(self, grad, keep_graph=keep_graph, late=True),
        "what was freed is a leaf": Edit("any(node.freed for node in order)", "False"),
        "only the end looked at": Edit("any(node.freed for node in order)", "self.freed"),
        "inner nodes keep theirs": lambda self, grad=None, *, keep_graph=False: walked(
            self, grad, keep_graph=keep_graph, inner=True
        ),
        "by distance from the end": lambda self, grad=None, *, keep_graph=False: walked(
            self, grad, keep_graph=keep_graph, order=by_distance
        ),
        "when a node is met first": lambda self, grad=None, *, keep_graph=False: walked(
            self, grad, keep_graph=keep_graph, order=reversed_preorder
        ),
        "every way by itself": every_way,
        "begins in float64": Edit("np.ones_like(self.data)", "np.ones(self.data.shape)"),
        "leaves are freed too": Edit(LEAF, LEAF + "\n                node.freed = True"),
    },
}


# --- right answers, written differently --------------------------------------------------------------------------------


def numpy_unbroadcast(grad, shape):
    """Axis by axis."""
    return unbroadcast_by(lambda g, axis, keep: g.sum(axis=axis, keepdims=keep))(grad, shape)


def einsum_unbroadcast(grad, shape):
    """Letters for axes: those that are missing on the right are summed."""
    full = (1,) * (grad.ndim - len(shape)) + tuple(shape)
    if len(full) != grad.ndim or any(have not in (1, size) for have, size in zip(full, grad.shape, strict=True)):
        raise ValueError(f"{shape} is not broadcast to {grad.shape}")
    letters = "abcdefghij"[: grad.ndim]
    kept = "".join(letter for letter, have in zip(letters, full, strict=True) if have != 1)
    return np.asarray(np.einsum(f"{letters}->{kept}", grad)).reshape(shape)


def scattered_unbroadcast(grad, shape):
    """Add every element up where it came from."""
    try:
        source = np.broadcast_to(np.arange(math.prod(shape)).reshape(shape), grad.shape)
    except ValueError:
        raise ValueError(f"{shape} is not broadcast to {grad.shape}") from None
    out = np.zeros(math.prod(shape), dtype=grad.dtype)
    np.add.at(out, source.ravel(), grad.ravel())
    return out.reshape(shape)


def expanded_sum_backward(grad, shape, axis=None):
    grad = np.asarray(grad)
    kept = np.zeros(shape).sum(axis=axis, keepdims=True).shape
    bare = np.zeros(shape).sum(axis=axis).shape
    if grad.shape not in (kept, bare):
        raise ValueError(f"{grad.shape} is no gradient of these sums")
    if grad.shape != kept:
        grad = np.expand_dims(grad, tuple(range(len(shape))) if axis is None else axis)
    return np.ones(shape, dtype=grad.dtype) * grad


def repeated_sum_backward(grad, shape, axis=None):
    """Each summed axis by itself, repeated."""
    summed = sorted({i % len(shape) for i in (range(len(shape)) if axis is None else np.atleast_1d(np.array(axis, int)))})
    out = grad.reshape(grad.shape)
    if grad.ndim == len(shape) - len(summed):
        for i in summed:
            out = out[(slice(None),) * i + (None,)]
    if out.shape != tuple(1 if i in summed else size for i, size in enumerate(shape)):
        raise ValueError("another size")
    for i in summed:
        out = np.repeat(out, shape[i], axis=i)
    return out


def einsum_matmul_backward(grad, a, b):
    left, right = (a.reshape(1, -1) if a.ndim == 1 else a), (b.reshape(-1, 1) if b.ndim == 1 else b)
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    grad = grad.reshape(*batch, left.shape[-2], right.shape[-1])
    of_left = np.einsum("...nm,...km->...nk", grad, right)
    of_right = np.einsum("...nk,...nm->...km", left, grad)
    return numpy_unbroadcast(of_left, left.shape).reshape(a.shape), numpy_unbroadcast(of_right, right.shape).reshape(b.shape)


def looped_matmul_backward(grad, a, b):
    """One product of the batch after the other."""
    left, right = (a[None] if a.ndim == 1 else a), (b[:, None] if b.ndim == 1 else b)
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    grad = grad.reshape(*batch, left.shape[-2], right.shape[-1])
    of_left, of_right = np.zeros(left.shape, dtype=grad.dtype), np.zeros(right.shape, dtype=grad.dtype)
    for place in np.ndindex(*batch):
        i, j = (
            tuple(at if x.shape[axis] > 1 else 0 for axis, at in enumerate(place[len(place) - (x.ndim - 2) :]))
            for x in (left, right)
        )
        of_left[i] += grad[place] @ right[j].T
        of_right[j] += left[i].T @ grad[place]
    return of_left.reshape(a.shape), of_right.reshape(b.shape)


def looped_cross_entropy(logits, targets, ignore=-100):
    """Row by row, by logaddexp."""
    loss, gradient = 0.0, np.zeros(logits.shape, dtype=logits.dtype)
    count = max(sum(int(t) != ignore for t in targets), 1)
    for n, t in enumerate(targets.tolist()):
        if t == ignore:
            continue
        if not 0 <= t < logits.shape[1]:
            raise ValueError(f"no class {t}")
        log_p = logits[n] - np.logaddexp.reduce(logits[n])
        gradient[n] = np.exp(log_p) / count
        gradient[n, t] -= 1 / count
        loss -= float(log_p[t])
    return loss / count, gradient


def one_hot_cross_entropy(logits, targets, ignore=-100):
    K, kept = logits.shape[1], targets != ignore
    if any(not 0 <= t < K for t in targets[kept].tolist()):
        raise ValueError("no such class")
    y = (np.arange(K) == np.where(kept, targets, -1)[:, None]).astype(logits.dtype)
    z = logits - logits.max(axis=1, keepdims=True)
    total = np.exp(z).sum(axis=1, keepdims=True)
    weight = (kept / max(kept.sum(), 1))[:, None].astype(logits.dtype)
    loss = (weight * y * (np.log(total) - z)).sum()
    return loss, weight * (np.exp(z) / total - y)


def zeros_outside_im2col(x, size, stride=1, padding=0):
    """Place by place, without padding: what lies outside is zero."""
    (B, C, H, W), (K, L) = x.shape, size
    if H + 2 * padding < K or W + 2 * padding < L:
        raise ValueError("too small")
    columns = []
    for i in range(-padding, H + padding - K + 1, stride):
        for j in range(-padding, W + padding - L + 1, stride):
            patch = np.zeros((B, C, K, L), dtype=x.dtype)
            for k, l in np.ndindex(K, L):
                if 0 <= i + k < H and 0 <= j + l < W:
                    patch[:, :, k, l] = x[:, :, i + k, j + l]
            columns.append(patch.reshape(B, C * K * L))
    return np.stack(columns, axis=2)


def indexed_im2col(x, size, stride=1, padding=0):
    """One gather by tables of rows and columns."""
    K, L = size
    x = np.pad(x, [(0, 0)] * 2 + [(padding, padding)] * 2)
    (B, C, H, W), O = x.shape, 1
    rows, columns = (H - K) // stride + O, (W - L) // stride + O
    if rows < 1 or columns < 1:
        raise ValueError("too small")
    r = np.repeat(np.arange(K), L)[:, None] + np.repeat(np.arange(rows) * stride, columns)
    c = np.tile(np.arange(L), K)[:, None] + np.tile(np.arange(columns) * stride, rows)
    return x[:, :, r, c].reshape(B, C * K * L, rows * columns)


def einsum_conv_backward(grad, x, w, stride=1, padding=0):
    """Offset by offset within the filter, without columns."""
    (_, _, K, L), (rows, columns) = w.shape, grad.shape[2:]
    p = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    of_x, of_w = np.zeros_like(p), np.zeros_like(w)
    for k, l in np.ndindex(K, L):
        window = (..., slice(k, k + stride * rows, stride), slice(l, l + stride * columns, stride))
        of_w[:, :, k, l] = np.einsum("bohw,bchw->oc", grad, p[window])
        of_x[window] += np.einsum("bohw,oc->bchw", grad, w[:, :, k, l])
    return of_x[:, :, padding : padding + x.shape[2], padding : padding + x.shape[3]], of_w


def dilated_conv_backward(grad, x, w, stride=1, padding=0):
    """The gradient of the images is a full convolution of the gradient, zeros between its columns, with the turned filters."""
    (B, C, H, W), (O, _, K, L), (rows, columns) = x.shape, w.shape, grad.shape[2:]
    wide = np.zeros((B, O, H + 2 * padding + K - 1, W + 2 * padding + L - 1), dtype=grad.dtype)
    wide[:, :, K - 1 : K - 1 + stride * rows : stride, L - 1 : L - 1 + stride * columns : stride][:, :, :rows, :columns] = grad
    patches = im2col_by((0, 1, 2, 3, 4, 5))(wide, (K, L))
    turned = w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3).reshape(C, O * K * L)
    of_x = (turned @ patches).reshape(B, C, H + 2 * padding, W + 2 * padding)
    return of_x[:, :, padding : H + padding, padding : W + padding], conv_by()(grad, x, w, stride, padding)[1]


def sorted_by_graphlib(root):
    nodes, waiting = {id(root): root}, [root]
    while waiting:
        for parent in waiting.pop().parents:
            if id(parent) not in nodes:
                nodes[id(parent)] = parent
                waiting.append(parent)
    graph = {key: [id(p) for p in node.parents] for key, node in nodes.items()}
    return [nodes[key] for key in graphlib.TopologicalSorter(graph).static_order()]


def kahn(root):
    """Count who uses each node; a node is free when all of them are out."""
    nodes = postorder(root, parents=lambda node: node.parents)
    uses = {id(node): 0 for node in nodes}
    for node in nodes:
        for parent in node.parents:
            uses[id(parent)] += 1
    order, free = [], [root]
    while free:
        node = free.pop()
        order.append(node)
        for parent in node.parents:
            uses[id(parent)] -= 1
            if uses[id(parent)] == 0:
                free.append(parent)
    return order[::-1]


def listed_backward(self, grad=None, *, keep_graph=False):
    """All shares of a node in a list, summed when it is its turn."""
    if grad is None:
        if self.data.size != 1:
            raise ValueError("not a single number")
        grad = np.full(self.data.shape, 1, dtype=self.data.dtype)
    if grad.shape != self.data.shape:
        raise ValueError("another shape")
    nodes = sorted_by_graphlib(self)[::-1]
    if [node for node in nodes if node.freed]:
        raise RuntimeError("freed")
    shares = {id(node): [] for node in nodes}
    shares[id(self)].append(grad)
    for node in nodes:
        total = np.sum(np.stack(shares[id(node)]), axis=0)
        if not node.parents:
            node.grad = np.asarray(total + (0 if node.grad is None else node.grad), dtype=node.data.dtype)
            continue
        for parent, share in zip(node.parents, node.rule(total), strict=True):
            shares[id(parent)].append(share)
    for node in nodes:
        if node.parents and not keep_graph:
            node.free()


def counted_backward(self, grad=None, *, keep_graph=False):
    """No order beforehand: a node is passed when as many shares have come as there are uses; added in place, in its own array."""
    if (self.data.size != 1) if grad is None else (np.shape(grad) != self.data.shape):
        raise ValueError("does not fit")
    uses, waiting, freed = {id(self): 1}, [self], self.freed
    while waiting:
        for parent in waiting.pop().parents:
            freed |= parent.freed
            if id(parent) not in uses:
                uses[id(parent)] = 0
                waiting.append(parent)
            uses[id(parent)] += 1
    if freed:
        raise RuntimeError("freed")
    own = {id(self): np.array(np.ones_like(self.data) if grad is None else grad)}
    waiting = [self]
    while waiting:
        node = waiting.pop()
        total, parents = own.pop(id(node)), node.parents
        if node.rule is None:
            node.grad = total if node.grad is None else node.grad + total
            continue
        for parent, share in zip(parents, node.rule(total), strict=True):
            if id(parent) in own:
                own[id(parent)] += share
            else:
                own[id(parent)] = np.array(share)
            uses[id(parent)] -= 1
            if not uses[id(parent)]:
                waiting.append(parent)
        if not keep_graph:
            node.free()


VARIANTS = {
    "unbroadcast": {
        "axis by axis": numpy_unbroadcast,
        "einsum": einsum_unbroadcast,
        "every element where it came from": scattered_unbroadcast,
    },
    "sum_backward": {
        "expanded": expanded_sum_backward,
        "repeated": repeated_sum_backward,
        "added to zeros": Edit(
            "np.broadcast_to(grad.reshape(kept), shape)", "grad.reshape(kept) + np.zeros(shape, dtype=grad.dtype)"
        ),
    },
    "matmul_backward": {
        "einsum": einsum_matmul_backward,
        "a loop": looped_matmul_backward,
        "grad transposed twice": Edit(
            "np.swapaxes(left, -1, -2) @ grad", "np.swapaxes(np.swapaxes(grad, -1, -2) @ left, -1, -2)"
        ),
    },
    "softmax_cross_entropy": {
        "row by row": looped_cross_entropy,
        "one-hot": one_hot_cross_entropy,
        "a NumPy scalar": Edit("return float(", "return np.asarray("),
        "probabilities in place of their logarithms": Edit(
            "slope = np.exp(log_p)", "slope = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)"
        ),
    },
    "im2col": {
        "place by place": zeros_outside_im2col,
        "a gather": indexed_im2col,
        "offset by offset": im2col_by((0, 1, 2, 3, 4, 5)),
    },
    "conv2d_backward": {
        "offset by offset": einsum_conv_backward,
        "a full convolution with turned filters": dilated_conv_backward,
        "pixel by pixel": conv_by(),
    },
    "topological_order": {
        "nodes that wait twice": postorder,
        "graphlib": sorted_by_graphlib,
        "by counting uses": kahn,
    },
    "Value.backward": {
        "a plain loop": walked,
        "lists of shares": listed_backward,
        "by counting uses, in arrays of its own": counted_backward,
    },
}
EQUIVALENT = {
    "unbroadcast": {
        "arguments swapped: np.broadcast_shapes(grad.shape, shape) -> np.broadcast_shapes(shape, grad.shape)": (
            "broadcasting is symmetric"
        ),
    },
    "sum_backward": {
        "off by one: len(shape) -> len(shape) + 1": "counted modulo the number of axes, one more is the first one again",
    },
    "topological_order": {
        "order: waiting[-1].parents -> list(waiting[-1].parents)[::-1]": "another topological order",
    },
    "Value.backward": {
        "order: order -> list(order)[::-1]": "whether any node was freed does not depend on the order of asking",
    },
}

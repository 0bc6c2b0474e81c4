r"""
# A recurrent language model

A recurrent network reads a text symbol by symbol and keeps what it has seen in a **state** of fixed size. The plain one,
$h_t = \tanh(W x_t + U h_{t-1} + b)$, is multiplied by $U$ at every step, and so is its gradient: it dies or explodes with the
distance. The **LSTM** keeps a cell $c$ that is only scaled and added to,

$$c_t = f_t \odot c_{t-1} + i_t \odot g_t, \qquad h_t = o_t \odot \tanh c_t,$$

$$i, f, o = \sigma(W x_t + U h_{t-1} + b), \qquad g = \tanh(W x_t + U h_{t-1} + b),$$

so along the cell the gradient is multiplied by $f_t$, which the network chooses; a bias of the forget gate above 0 begins with
remembering. The **GRU** does it with one state and two gates, the reset $r$ and the update $z$,

$$n = \tanh\bigl(W_n x_t + b + r \odot (U_n h_{t-1} + b')\bigr), \qquad h_t = (1 - z) \odot n + z \odot h_{t-1}.$$

Training unrolls the network over a chunk of text and carries the state, but not the gradient, into the next one
(**truncated backpropagation through time**), so each row of a batch must go on where its row of the last chunk ended. Writing takes
the same work and memory for every symbol, however long the text is: the state is all that is kept.

Conventions, those of `torch.nn.LSTM` and `torch.nn.GRU`: gates are stacked in the order i, f, g, o and r, z, n; both the map of
the input and the map of the state have a bias. A `Recurrent` has their weights, under their names.

**Asked in interviews.** Why does an LSTM remember for longer than a plain RNN? Which of its gates gets a bias, and how large? What does
a GRU save? Why is the state detached between chunks, and not set to zero? How are rows of different lengths put into one batch? Why
did Transformers replace all this, and what of it has come back?

**Sources.** Hochreiter and Schmidhuber, *Long Short-Term Memory* (1997); Gers et al., *Learning to Forget* (2000) (the forget
gate); Cho et al., *Learning Phrase Representations using RNN Encoder-Decoder* (2014), eq. 5 to 8 (the GRU); Jozefowicz et al., *An
Empirical Exploration of Recurrent Network Architectures* (2015) (the bias); Saxe et al., *Exact Solutions to the Nonlinear
Dynamics of Learning* (2014) (orthogonal start); Le et al., *A Simple Way to Initialize Recurrent Networks of Rectified Linear
Units* (2015) (identity); Williams and Peng, *An Efficient Gradient-Based Algorithm* (1990) (truncation).

**In this course.** [Question](../../questions/text/rnn.md) · [exercise](../../notebooks/text/rnn.ipynb) ·
[solution](../../solutions/text/rnn.ipynb)
"""

import math
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure
from torch import Tensor, nn

from reference_impl.data import python_docs
from reference_impl.experiments import Ablation, Leak
from reference_impl.ngram import KneserNey, NGram, even_mixture
from reference_impl.runtime import Gate, autocast, maybe_compile, one_cycle, resolve_device, seed_everything, track
from reference_impl.text.gpt import LINE_END, bits_per_character, language_model_loss, sample
from reference_impl.verbs import Verb

State = tuple[Tensor, ...]  # (B, H) each: h and c of an LSTM, h of the others
BLOCKS = {"lstm": 4, "gru": 3, "rnn": 1}  # how many maps a cell stacks


def lstm_cell(
    projected: Float[Tensor, "B G"],  # G = 4 H
    h: Float[Tensor, "B H"],
    c: Float[Tensor, "B H"],
    weight: Float[Tensor, "G H"],
    bias: Float[Tensor, " G"],
) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]:
    """One step: the new h and c. Gers et al. (2000); gates as in `torch.nn.LSTM`.

    projected: what the input adds to the gates, W x + b, stacked in the order i, f, g, o, as are the rows of `weight` and `bias`,
    which are applied to h.
    """
    i, f, g, o = (projected + F.linear(h, weight, bias)).chunk(4, dim=-1)  # (B, H) each
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru_cell(
    projected: Float[Tensor, "B G"], h: Float[Tensor, "B H"], weight: Float[Tensor, "G H"], bias: Float[Tensor, " G"]
) -> Float[Tensor, "B H"]:
    """One step: the new h. Cho et al. (2014), eq. 5 to 8, with the reset gate behind the map of h, as in `torch.nn.GRU`.

    projected: what the input adds, W x + b, stacked in the order r, z, n, as are the rows of `weight` and `bias`, which are
    applied to h. r scales all that comes from h in n, its bias included; z is the share of the old h that is kept.
    """
    r, z, n = projected.chunk(3, dim=-1)  # (B, H) each, from the input
    r_h, z_h, n_h = F.linear(h, weight, bias).chunk(3, dim=-1)  # and from the state
    z = (z + z_h).sigmoid()
    n = (n + (r + r_h).sigmoid() * n_h).tanh()
    return (1 - z) * n + z * h


def orthogonal(normal: Float[Tensor, "M N"]) -> Float[Tensor, "M N"]:
    r"""Orthonormal columns out of a matrix of normal numbers, or rows where there are more columns than rows. Saxe et al. (2014).

    The columns of a tall matrix (or the rows of a wide one) one after another, each freed from those before it and scaled to
    length 1: the Q of QR with a positive diagonal of R. With these signs, no direction is preferred. In the dtype of the input;
    half precisions are computed in float32.
    """
    M, N = normal.shape
    tall = normal if M >= N else normal.T
    q, r = torch.linalg.qr(tall if normal.dtype == torch.float64 else tall.float())
    q = torch.where(r.diagonal() < 0, -q, q)  # LAPACK leaves the signs to chance
    return (q if M >= N else q.T).to(normal.dtype)


class Recurrent(nn.Module):
    """A layer with the weights, and the names of weights, of `nn.LSTM`, `nn.GRU` or `nn.RNN` (cell: `lstm`, `gru`, `rnn`)."""

    def __init__(self, inputs: int, width: int, cell: str = "lstm", forget_bias: float = 1.0) -> None:
        super().__init__()
        self.inputs, self.width, self.cell = inputs, width, cell
        rows = BLOCKS[cell] * width
        self.weight_ih_l0, self.weight_hh_l0 = nn.Parameter(torch.empty(rows, inputs)), nn.Parameter(torch.empty(rows, width))
        self.bias_ih_l0, self.bias_hh_l0 = nn.Parameter(torch.empty(rows)), nn.Parameter(torch.empty(rows))
        self.initialise(forget_bias)

    @torch.no_grad()
    def initialise(self, forget_bias: float) -> None:
        """Set all weights in place: each gate's two maps `orthogonal`, each by itself, biases 0 but for the gate that keeps the old state.

        That is f in an LSTM and z in a GRU: there the two biases, of input and state, add up to `forget_bias`. An RNN has none.
        """
        for weight in (self.weight_ih_l0, self.weight_hh_l0):
            for gate in weight.split(self.width):  # (H, D) or (H, H)
                gate.copy_(orthogonal(torch.randn_like(gate)))
        self.bias_ih_l0.zero_()
        self.bias_hh_l0.zero_()
        self.bias_hh_l0[self.width : 2 * self.width] = forget_bias  # of a plain RNN, no rows

    def start(self, like: Float[Tensor, "B T D"]) -> State:
        """The state before anything was read: zeros."""
        return (like.new_zeros(len(like), self.width),) * (2 if self.cell == "lstm" else 1)

    def step(self, projected: Float[Tensor, "B G"], state: State) -> State:
        """One step of the cell."""
        if self.cell == "lstm":
            return lstm_cell(projected, state[0], state[1], self.weight_hh_l0, self.bias_hh_l0)
        if self.cell == "gru":
            return (gru_cell(projected, state[0], self.weight_hh_l0, self.bias_hh_l0),)
        return ((projected + F.linear(state[0], self.weight_hh_l0, self.bias_hh_l0)).tanh(),)

    def forward(
        self, x: Float[Tensor, "B T D"], state: State | None = None, lengths: Int[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B T H"], State]:
        """h at each place, and the state behind the last one. state: the one before the first, `start` if not given.

        lengths: how many places of each row count, the rest is padding: there h is 0 in what is returned, and the state stays what
        it was at the row's end (for a length of 0, before its beginning). What stands in the padding, NaN too, has no effect, on
        gradients neither. Raises ValueError unless T > 0 and lengths lie in 0 to T.
        """
        T = x.shape[1]
        if T == 0 or (lengths is not None and bool(((lengths < 0) | (lengths > T)).any())):
            raise ValueError(f"expected at least one place and lengths from 0 to T, got T = {T} and {lengths}")
        state = self.start(x) if state is None else state
        going = torch.arange(T, device=x.device) < (T if lengths is None else lengths[:, None])  # (T,) or (B, T)
        x = x.where(going[..., None], 0.0)
        outputs = []
        for t, projected in enumerate(F.linear(x, self.weight_ih_l0, self.bias_ih_l0).unbind(1)):  # all inputs in one product
            new = self.step(projected, state)
            if lengths is None:
                outputs.append(new[0])
            else:
                here = going[:, t, None]  # (B, 1)
                outputs.append(new[0].where(here, 0.0))
                new = tuple(now.where(here, before) for now, before in zip(new, state, strict=True))
            state = new
        return torch.stack(outputs, dim=1), state


@dataclass(frozen=True)
class Config:
    """symbols, embedding, width and cell shape the model, forget_bias its start; the rest drives `train`.

    chunk: through how many places a gradient runs.
    """

    symbols: int = python_docs.SYMBOLS
    embedding: int = 32
    width: int = 128
    cell: str = "lstm"
    forget_bias: float = 1.0
    chunk: int = 32
    batch_size: int = 64
    steps: int = 1200
    learning_rate: float = 1e-2


class LanguageModel(nn.Module):
    """Embedding, one recurrent layer, read-out."""

    def __init__(self, config: Config = Config(), precision: str = "float32") -> None:
        super().__init__()
        self.config, self.precision = config, precision
        self.tokens = nn.Embedding(config.symbols, config.embedding)
        self.recurrent = Recurrent(config.embedding, config.width, config.cell, config.forget_bias)
        self.readout = nn.Linear(config.width, config.symbols)

    def forward(
        self, ids: Int[Tensor, "B T"], state: State | None = None, lengths: Int[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B T V"], State]:
        """Logits of the symbol behind each place, and the state behind the last one; arguments as those of `Recurrent`.

        With the precision `bfloat16` under autocast; logits are float32 then.
        """
        with autocast(ids.device, self.precision):
            h, state = self.recurrent(self.tokens(ids), state, lengths)
            logits = self.readout(h)  # (B, T, V)
        return logits if self.precision == "float32" else logits.float(), state


def streams(ids: Int[Tensor, " N"], batch_size: int, chunk: int) -> Int[Tensor, "K B W"]:
    """A text cut into `batch_size` streams of equal length, these into K chunks of T = `chunk` inputs and the symbol behind.

    Row b of a chunk goes on where row b of the chunk before ended: its last symbol, so far a target alone, is the first input. Of
    the (N - 1) // B symbols that each stream can predict, a rest shorter than a chunk is left out. Raises ValueError if not
    even one chunk fits.
    """
    length = (len(ids) - 1) // batch_size
    if length < chunk:
        raise ValueError(f"expected more than {batch_size * chunk} symbols for {batch_size} streams of a chunk, got {len(ids)}")
    starts = torch.arange(batch_size, device=ids.device)[:, None] * length
    rows = ids[starts + torch.arange(length + 1, device=ids.device)]  # (B, length + 1), overlapping by one
    return rows.unfold(1, chunk + 1, chunk).transpose(0, 1)


class Muon(torch.optim.Optimizer):
    """Muon, by gate, for the maps of the recurrent layer, at three times the rate; Adam for all else. Jordan et al. (2024).

    A step moves each map along the nearest orthogonal matrix to its averaged gradient (five steps of Newton and Schulz), so that
    every direction moves equally far. `torch.optim.Muon` does this in bfloat16, for which a CPU needs twice the time of the rest.
    """

    def __init__(self, model: nn.Module, rate: float) -> None:
        named = dict(model.named_parameters())
        maps = [parameter for name, parameter in named.items() if "weight_hh" in name or "weight_ih" in name]
        others = [parameter for name, parameter in named.items() if "weight_hh" not in name and "weight_ih" not in name]
        super().__init__([{"params": maps}, {"params": others}], {"lr": rate})
        self.gates = BLOCKS[model.recurrent.cell] if isinstance(model, LanguageModel) else 1
        self.adam = torch.optim.Adam(others, rate, betas=(0.9, 0.98))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update; the gradients are used as they are."""
        maps, others = self.param_groups
        self.adam.param_groups[0]["lr"] = others["lr"]
        self.adam.step()
        for parameter in maps["params"]:
            average = self.state[parameter].setdefault("average", torch.zeros_like(parameter)).mul_(0.95).add_(parameter.grad)
            x = (parameter.grad + 0.95 * average).unflatten(0, (self.gates, -1))  # (G, H, D)
            x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
            wide = x.mT if x.shape[1] > x.shape[2] else x
            for _ in range(5):
                square = wide @ wide.mT
                wide = 3.4445 * wide + (-4.775 * square + 2.0315 * square @ square) @ wide
            x = wide.mT if x.shape[1] > x.shape[2] else wide
            parameter.sub_(x.flatten(0, 1), alpha=3 * maps["lr"])


def make_optimizer(model: nn.Module, rate: float, adaptive: bool = True) -> torch.optim.Optimizer:
    """`Muon` with Adam, or plain gradient descent."""
    return Muon(model, rate) if adaptive else torch.optim.SGD(model.parameters(), rate)


def one_pass(
    model: LanguageModel,
    optimizer: torch.optim.Optimizer,
    chunks: Iterable[Int[Tensor, "B W"]],
    after: Callable[[], object] = lambda: None,
) -> Float[Tensor, " K"]:
    """`truncated_bptt` on one chunk after another, each with the state of the one before: their losses. after: called behind each."""
    losses, state = [], None
    for chunk in chunks:
        loss, state = truncated_bptt(model, optimizer, chunk, state)
        losses.append(loss)
        after()
    return torch.stack(losses)


def truncated_bptt(
    model: LanguageModel,
    optimizer: torch.optim.Optimizer,
    chunk: Int[Tensor, "B W"],
    state: State | None,
    clip: float = 1.0,
) -> tuple[Float[Tensor, ""], State]:
    """One step of training, in place: the loss before it, and the state for the next chunk. Williams and Peng (1990).

    Inputs are all symbols of `chunk` but the last, targets all but the first. The norm of the gradient is clipped to `clip`.
    Gradients that were there before count for nothing. The state begins as it was handed over; the new one is that of the weights
    before the step, and leaves without a history: no gradient runs back into an earlier chunk.
    """
    logits, state = model(chunk[:, :-1], state)
    loss = language_model_loss(logits, chunk[:, 1:])
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return loss.detach(), tuple(part.detach() for part in state)


def train(
    config: Config = Config(),
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = True,
    precision: str = "float32",
    compile: bool = False,
    losses: list[float] | None = None,
) -> LanguageModel:
    """Train on the training topics; return the model in evaluation mode, on `device`.

    Each pass over the text begins at another place of it, with a state of zeros. precision: `float32` or `bfloat16` (autocast).
    compile: use `torch.compile`. losses: a list to which the loss of each step, in nats per byte, is appended.
    """
    device, generator = resolve_device(device), seed_everything(seed)
    ids = python_docs.load("train").ids
    model = maybe_compile(LanguageModel(config, precision).to(device).train(), compile)
    optimizer = make_optimizer(model, config.learning_rate)
    schedule = one_cycle(optimizer, config.learning_rate, config.steps, 0.1)
    done = 0
    while done < config.steps:
        shift = int(torch.randint(len(ids), (), generator=generator))
        chunks = streams(ids.roll(shift), config.batch_size, config.chunk)[: config.steps - done].to(device)
        shown = track(chunks, total=len(chunks), description=config.cell, show=progress)
        found, done = one_pass(model, optimizer, shown, schedule.step), done + len(chunks)
        if losses is not None:
            losses += found.tolist()
    return model.eval()


@torch.no_grad()
def generate(
    model: LanguageModel,
    prompts: Int[Tensor, "B T"],
    lengths: Int[Tensor, " B"],
    new_symbols: int,
    *,
    temperature: float = 1.0,
    uniforms: Float[Tensor, "B N"] | None = None,
    seed: int = 0,
) -> Int[Tensor, "B N"]:
    """What each row goes on with, N = `new_symbols`, by `sample`; a temperature of 0 takes the likeliest. Without the prompt.

    lengths: of the prompts, at least 1; what stands behind them is padding. After the prompt the model is given one symbol at a
    time, and the state.
    uniforms: the random number in [0, 1) of each new symbol; if not given, `torch.rand(B, N)` of a generator of the CPU seeded with
    `seed`. Logits of half precision become float32.
    Raises ValueError for a negative temperature and for an empty prompt.
    """
    if temperature < 0 or bool((lengths < 1).any()):
        raise ValueError(f"need prompts and a temperature of at least 0, got lengths {lengths} and {temperature}")
    if uniforms is None:
        uniforms = torch.rand(len(prompts), new_symbols, generator=torch.Generator().manual_seed(seed))
    uniforms, written = uniforms.to(prompts.device), prompts.new_zeros(len(prompts), new_symbols)
    logits, state = model(prompts, None, lengths)
    logits = logits[torch.arange(len(prompts), device=prompts.device), lengths - 1]  # (B, V)
    for n in range(new_symbols):
        if n > 0:
            logits, state = model(written[:, n - 1 : n], state)
            logits = logits.flatten(1)  # (B, V), of the one place
        logits = logits.float()
        written[:, n] = logits.argmax(-1) if temperature == 0 else sample(logits / temperature, uniforms[:, n])
    return written


@torch.no_grad()
def log_probabilities(model: LanguageModel, ids: Int[Tensor, " N"], rows: int = 16, warm: int = 256) -> Float[Tensor, "N V"]:
    """Of every byte that could stand at each place of a text. On the CPU.

    The text is read as `rows` pieces side by side, each after the `warm` bytes before it (empty lines at the start).
    """
    device, length = next(model.parameters()).device, -(-len(ids) // rows)
    padded = torch.cat([torch.full((warm + 1,), LINE_END), ids, torch.full((rows * length - len(ids),), LINE_END)])
    pieces = torch.stack([padded[r * length : (r + 1) * length + warm] for r in range(rows)]).to(device)  # (R, warm + L)
    found, state = [], None
    for part in pieces.split(64, dim=1):
        logits, state = model(part, state)
        found.append(logits.float().cpu())
    return torch.cat(found, dim=1)[:, warm:].flatten(0, 1)[: len(ids)].log_softmax(dim=-1)


KINDS, MARK, DELAY = 32, 32, 50  # of `recall_task`: its symbols, the mark, and for how long a symbol is kept in the test


def recall_task(marks: Bool[Tensor, "B T"], generator: torch.Generator) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """Random symbols with a mark at some places; and for each place the symbol that stood behind the last mark before it.

    All symbols are drawn alike, so only the mark tells which one is to be kept, until another takes its place; for how long, nobody
    knows. At a mark, and before the first one, there is no answer: -100. No two marks may stand next to each other.
    """
    B, T = marks.shape
    x = torch.randint(KINDS, (B, T), generator=generator)
    marked = F.pad(marks[:, :-1], (1, 0))  # (B, T), the places behind a mark
    last = torch.where(marked, torch.arange(T), -1).cummax(dim=1).values  # (B, T)
    answers = x.gather(1, last.clamp(min=0)).where((last >= 0) & ~marks, -100)
    return x.where(~marks, MARK), answers


def remembers(cell: str, start: str, rate: float, *, seed: int, device: str | torch.device = "cpu") -> float:
    """Share of 500 new sequences whose second marked symbol is named right after `DELAY` others.

    64 units are trained in 400 steps on 32 sequences each, of which about each twelfth symbol is a mark, and asked at every place.
    start: `ours` as by `Recurrent.initialise`; `uniform` as torch's own layers; `identity` ours, with the map of the state the identity.
    """
    generator, T = seed_everything(seed), DELAY + 4
    model = LanguageModel(Config(KINDS + 1, embedding=32, width=64, cell=cell)).to(device)
    if start == "uniform":
        for parameter in model.recurrent.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(64), 1 / math.sqrt(64))
    elif start == "identity":
        nn.init.eye_(model.recurrent.weight_hh_l0)
    optimizer = torch.optim.Adam(model.parameters(), rate, betas=(0.9, 0.98))
    schedule = one_cycle(optimizer, rate, 400, 0.1)
    for _ in range(400):
        marks = torch.rand(32, T, generator=generator) < 1 / 12
        marks[:, 0], marks[:, -1] = True, False
        marks[:, 1:] &= ~marks[:, :-1]
        x, y = (part.to(device) for part in recall_task(marks, generator))
        loss = language_model_loss(model(x)[0], y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    marks = torch.zeros(500, T, dtype=torch.bool)
    marks[:, [0, 2]] = True
    with torch.no_grad():
        x, y = (part.to(device) for part in recall_task(marks, generator))
        return (model(x)[0][:, -1].argmax(-1) == y[:, -1]).double().mean().item()


@lru_cache(maxsize=1)
def counted() -> dict[str, Tensor]:
    """What n-grams give to the held-out topics, in nats for each byte."""
    real, ids = python_docs.load("train").ids, python_docs.load("test").ids
    best, fewer, plain = (kind(n, python_docs.SYMBOLS, real) for kind, n in ((KneserNey, 10), (KneserNey, 6), (NGram, 5)))
    return {"kneser_ney": best.nll(ids), "fewer": fewer.nll(ids), "ngram_5": plain.nll(ids)}


def evaluate(model: LanguageModel, *, seed: int = 0) -> dict[str, float]:
    """Bits per character on the held-out topics beside n-grams, and what is remembered over `DELAY` symbols.

    ngram_5: smoothed as by Witten and Bell, whose best order that is; kneser_ney: modified, of order 10 (20 would be .02 better).
    gain: by how much the even mixture of network and kneser_ney is better than kneser_ney alone; gain_of_counts: the same with
    kneser_ney of order 6 in the network's place. memory: `remembers`, of an LSTM; memory_rnn, memory_rnn_orthogonal,
    memory_rnn_identity: of plain networks by how they begin, at the better of two rates.
    """
    config, held_out, counts = model.config, python_docs.load("test"), counted()
    log_p = log_probabilities(model, held_out.ids)
    network = -log_p.gather(1, held_out.ids[:, None])[:, 0].double()  # nats of each byte
    nats = {"bits_per_character": network, "ngram_5": counts["ngram_5"], "kneser_ney": counts["kneser_ney"]}
    nats["mixture"] = even_mixture(network, counts["kneser_ney"])
    figures = {name: bits_per_character(value, held_out) for name, value in nats.items()}
    figures["gain"] = figures["kneser_ney"] - figures["mixture"]
    control = bits_per_character(even_mixture(counts["fewer"], counts["kneser_ney"]), held_out)
    figures["gain_of_counts"] = figures["kneser_ney"] - control
    if config == Config():  # an idea taken away is compared by its bits
        figures["memory"] = remembers("lstm", "ours", 1e-2, seed=seed)
        for name, start in {"memory_rnn": "uniform", "memory_rnn_orthogonal": "ours", "memory_rnn_identity": "identity"}.items():
            figures[name] = max(remembers("rnn", start, rate, seed=seed) for rate in (5e-3, 1e-2))
        figures["memory_chance"] = 1 / KINDS
    return figures


GATES = (
    Gate("bits_per_character", below="ngram_5", baseline="kneser_ney"),
    Gate("gain", at_least=0.05, above="gain_of_counts", baseline="gain_of_counts"),
    Gate("memory", at_least=0.95, baseline="memory_chance"),
)
ABLATIONS = {
    "no gates, as many weights": Ablation(Config(cell="rnn", width=225), "bits_per_character", lower_by=0.03),
}
LEAKS = {"held-out text in training": Leak(lambda seed, device: python_docs.shared(), chance=0.0, at_most=0.02)}


def continued(model: LanguageModel, prompt: str, *, length: int = 200, temperature: float = 0.7, seed: int = 0) -> str:
    """A prompt and the `length` bytes that the model puts behind it. Raises ValueError for a negative length."""
    ids = python_docs.encode(prompt)[None].to(next(model.parameters()).device)
    if length < 0:
        raise ValueError(f"length must be at least 0, got {length}")
    written = generate(model, ids, torch.tensor([ids.shape[1]], device=ids.device), length, temperature=temperature, seed=seed)
    return python_docs.decode(torch.cat([ids, written], dim=1)[0])


VERB = Verb("text", "text", continued, example="The value of")


def demo(config: Config = Config(width=96, steps=150), *, device: str | torch.device = "auto") -> Figure:
    """Train briefly; show the loss, how fast three forget gates forget, and three prompts continued at three temperatures."""
    losses: list[float] = []
    model = train(config, device=device, progress=False, losses=losses)
    device = next(model.parameters()).device
    figure, axes = plt.subplot_mosaic([["loss", "text"], ["memory", "text"]], figsize=(12, 7), layout="constrained")
    axes["loss"].plot([nats / math.log(2) for nats in losses])
    axes["loss"].set(title="Training loss", xlabel="step", ylabel="bits per byte")
    places = torch.arange(101)
    for bias in (0.0, 1.0, math.log(50)):
        axes["memory"].semilogy(places, torch.sigmoid(torch.tensor(bias)) ** places, label=f"bias {bias:.2g}")
    axes["memory"].set(title="What a forget gate leaves of the cell", xlabel="steps", ylabel="share", ylim=(1e-6, 1.5))
    axes["memory"].legend()
    prompts = ["The value of", "If a class", "An expression"]
    longest = max(map(len, prompts))
    padded = torch.stack([python_docs.encode(text.ljust(longest)) for text in prompts]).to(device)
    lengths, lines = torch.tensor([len(text) for text in prompts], device=device), []
    for temperature in (0.0, 0.5, 1.0):
        rows = generate(model, padded, lengths, 120, temperature=temperature, seed=1)
        lines.append(f"temperature {temperature:g}")
        for prompt, row in zip(prompts, rows, strict=True):
            text = prompt + python_docs.decode(row.cpu())
            shown = "".join(c if c.isascii() and c.isprintable() else " " for c in text).replace("$", r"\$")
            lines += [*textwrap.wrap(shown, 66), ""]
    axes["text"].text(0, 1, "\n".join(lines), family="monospace", fontsize=9, verticalalignment="top")
    axes["text"].set_title("Three prompts of different lengths in one batch")
    axes["text"].axis("off")
    return figure

"""A small course of one unit, written into a temporary folder for tests of the tools."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from course.authoring.build import to_json
from course.units.catalogue import Unit

TOY = {
    "README.md": "# Toy\n\n<!-- index:start -->\n<!-- index:end -->\n",
    "README.zh.md": "# 玩具\n\n<!-- index:start -->\n<!-- index:end -->\n",
    "questions/toy/sums.md": """---
title: Sums
difficulty: 1
frequency: 1
syllabus: [B11]
stubs: [total, Box.grow]
---

## Question
What is a sum?
## Say it in two minutes
Add them.
## In depth
Add them all.

$$1 + 2 + 3 = 3 + 3 = (1 + 1) \\cdot 3 = 6$$

## Pitfalls
### Adding one twice
```python
print(sum([1, 2, 2]))
```

It prints

```text
5
```

Add each term once.

## Follow-ups

**Why?** Because.

*A weak answer:* because everybody does. That names no reason.

**How often?** Once.

*A weak answer:* often. The question asks for a number.

**How fast?** In one pass.

**How exactly?** Pairwise, with less rounding.

**How many at once?** As many as fit.

## Hints
### total
1. one
2. two
3. three
### Box.grow
1. one
2. two
3. three
## Flashcards

**What is a sum?** All terms, $\\sum_i x_i$.

**And of none?** Zero.

**And of one?** It.

## References
- none
""",
    "questions/toy/sums.zh.md": """---
title: 求和
difficulty: 1
frequency: 1
syllabus: [B11]
stubs: [total, Box.grow]
---

## 问题
什么是求和？
## 两分钟口述
相加。
## 深入
全部相加。

$$1 + 2 + 3 = 3 + 3 = (1 + 1) \\cdot 3 = 6$$

## 常见错误
### 同一项加了两次
```python
print(sum([1, 2, 2]))
```

打印出

```text
5
```

每一项只加一次。

## 追问

**为什么？** 因为如此。

*减分的回答：* 大家都这么做。没有说出理由。

**加几次？** 一次。

*减分的回答：* 很多次。问的是具体的数。

**多快？** 扫一遍。

**怎样更精确？** 两两相加，舍入误差更小。

**一次加多少？** 放得下多少就加多少。

## 提示
### total
1. 一
2. 二
3. 三
### Box.grow
1. 一
2. 二
3. 三
## 闪卡

**什么是求和？** 各项相加，$\\sum_i x_i$。

**没有项呢？** 零。

**只有一项呢？** 它自己。

## 参考文献
- 无
""",
    "reference_impl/__init__.py": "",
    "reference_impl/toy/__init__.py": "",
    "reference_impl/toy/sums.py": '''"""
# Sums

Adding.

**In this course.** [Question](../../questions/toy/sums.md) · [exercise](../../notebooks/toy/sums.ipynb) ·
[solution](../../solutions/toy/sums.ipynb)
"""

import torch
from jaxtyping import Float
from torch import Tensor

LIMIT = 3


# The comment above a stub is kept.
def total(x: Float[Tensor, "A B"], scale: float = 1.0) -> Float[Tensor, " A"]:
    """Sum over the last axis."""
    return scale * x.sum(dim=-1)


class Box:
    """Holds a number."""

    def __init__(self, size: int) -> None:
        self.size = size

    def grow(self, by: int) -> int:
        """The size and `by`."""
        # a comment that is part of the answer
        return self.size + by


def twice(x: Float[Tensor, "A B"]) -> Float[Tensor, " A"]:
    return 2 * total(x)


def demo() -> None:
    """Show the sum of one and two: a bar of three."""
    from IPython.display import display
    from PIL import Image

    display(Image.new("RGB", (3, 1), "navy").resize((90, 30)))
''',
    "tests/exercises/toy/test_sums.py": '''import pytest
import torch
from course.testing import Edit, assert_close, assert_equal


@pytest.mark.stub("total")
def test_total(impl, draw):
    x = draw.normal(draw.size(), draw.size())
    assert_close(impl.total(x), torch.einsum("ab->a", x), hint="the last axis")


@pytest.mark.stub("total")
def test_scale(impl, draw):
    x = draw.normal(draw.size(), draw.size())
    assert_close(impl.total(x, scale=3.0), 3 * torch.einsum("ab->a", x))


@pytest.mark.stub("Box.grow")
@pytest.mark.parametrize("by", [1, 5])
def test_grow(impl, by):
    """A box grows by what it is told."""
    assert_equal(impl.Box(4).grow(by), 4 + by)


FAKES = {
    "total": {
        "zeros": lambda x, scale=1.0: 0 * x[:, 0],
        "first axis": Edit("dim=-1", "dim=0"),
        "mean": Edit(".sum(", ".mean("),
        "no scale": Edit("scale * ", ""),
        "nothing": lambda x, scale=1.0: None,
    },
    "Box.grow": {"stays": lambda self, by: self.size},
}
VARIANTS = {
    "total": {
        "matmul": lambda x, scale=1.0: x @ x.new_full((x.shape[1],), scale),
        "einsum": lambda x, scale=1.0: scale * torch.einsum("ab->a", x),
        "axis by its number": Edit("dim=-1", "dim=1"),
    },
    "Box.grow": {
        "other order": lambda self, by: by + self.size,
        "sum": lambda self, by: sum((self.size, by)),
        "minus minus": lambda self, by: self.size - -by,
    },
}
''',
}


def write_toy(folder: Path) -> None:
    """Write the toy course's authored files."""
    for name, text in TOY.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def write_question(
    folder: Path, unit: str, *, requires: str = "[]", frequency: int = 1, difficulty: int = 1, stubs: str = "[]"
) -> None:
    """A question that is hardly more than its front matter, in both languages."""
    for suffix, title in ((".md", unit), (".zh.md", f"{unit} 题")):
        head = f"title: {title}\ndifficulty: {difficulty}\nfrequency: {frequency}\nsyllabus: []\nstubs: {stubs}\nrequires: {requires}"
        path = folder / "questions" / f"{unit}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"---\n{head}\n---\n", encoding="utf-8")


def write_work(unit: Unit, notebook: str | dict[str, Any]) -> None:
    """Make this the learner's copy."""
    unit.work.parent.mkdir(parents=True, exist_ok=True)
    unit.work.write_text(notebook if isinstance(notebook, str) else to_json(notebook), encoding="utf-8")


@contextmanager
def importable_toy(folder: Path) -> Iterator[None]:
    """`reference_impl.toy` comes from `folder` in this process, and from no other toy of an earlier test."""
    import reference_impl

    before = list(reference_impl.__path__)
    reference_impl.__path__.append(str(folder / "reference_impl"))
    try:
        yield
    finally:
        reference_impl.__path__[:] = before
        for name in [name for name in sys.modules if name.startswith("reference_impl.toy")]:
            del sys.modules[name]

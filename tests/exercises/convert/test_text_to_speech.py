"""What a right answer to convert/text_to_speech must do. Truths: NumPy's FFT frame by frame, least squares, every path tried, loops."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course.testing import Edit, assert_close, assert_equal, assert_finite, assert_true, raises

RATE, HOP, WINDOW, MELS, FLOOR = 8000, 128, 384, 48, 0.05


def corners(bands, rate, low=0.0, high=None):
    """The frequencies, in Hz, between which the triangles stand."""
    ends = [2595 * math.log10(1 + f / 700) for f in (low, rate / 2 if high is None else high)]
    return [700 * (10 ** ((ends[0] + (ends[1] - ends[0]) * i / (bands + 1)) / 2595) - 1) for i in range(bands + 2)]


def triangles(bands, window, rate, low=0.0, high=None):
    """The filterbank (M, F) in float64, by linear interpolation."""
    edges, bins = corners(bands, rate, low, high), np.arange(window // 2 + 1) * rate / window
    rows = [np.interp(bins, edges[i : i + 3], [0.0, 1.0, 0.0], left=0.0, right=0.0) for i in range(bands)]
    return torch.tensor(np.stack(rows))


@pytest.mark.stub("mel_filterbank")
def test_bands_are_triangles_between_corners_even_in_mel(impl, draw):
    bands, window, rate = draw.size(1, 9), 2 * draw.integer(4, 40), draw.choice([8000, 11025, 16000])
    hint = "bands + 2 corners, even in mel; each triangle is 0 at its first and last corner and 1 at the one between"
    result = impl.mel_filterbank(bands, window, rate)
    assert_close(result, triangles(bands, window, rate).float(), tolerance=1e-4, hint=hint)


@pytest.mark.stub("mel_filterbank")
def test_corners_lie_between_low_and_high(impl, draw):
    bands, window = draw.size(1, 9), 2 * draw.integer(20, 60)
    low, high = draw.number(50, 300), draw.number(2000, 3800)
    expected = triangles(bands, window, RATE, low, high).float()
    hint = "the first corner is at low, the last at high; bins outside belong to no band"
    assert_close(impl.mel_filterbank(bands, window, RATE, low, high), expected, tolerance=1e-4, hint=hint)
    result = impl.mel_filterbank(bands, window, RATE, low=low)
    assert_close(result, triangles(bands, window, RATE, low).float(), tolerance=1e-4, hint="without high, rate / 2")


@pytest.mark.stub("mel_filterbank")
def test_bank_that_the_course_uses(impl):
    expected = triangles(MELS, WINDOW, RATE).float()
    assert_close(impl.mel_filterbank(), expected, tolerance=1e-4, hint="48 bands of a window of 384 at 8 kHz, from 0 Hz up")
    for bands, window, rate in ((1, 16, 16000), (3, 20, 100)):
        hint = "without `high` the last corner is half of the rate that is asked for, whichever it is; one band is a bank, too"
        assert_close(impl.mel_filterbank(bands, window, rate), triangles(bands, window, rate).float(), tolerance=1e-4, hint=hint)


def hann(window):
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)


def frames_of(waveforms, window, hop):
    """Frames (N, T, window) under a periodic Hann window, each around the middle of its hop; zeros outside of the waveform."""
    N, S = waveforms.shape
    T = -(-S // hop)
    padded = np.zeros((N, T * hop + window - hop))
    padded[:, (window - hop) // 2 :][:, :S] = waveforms
    frames = np.stack([padded[:, t * hop : t * hop + window] for t in range(T)], axis=1)
    return frames * hann(window)


def spectrum_of(waveforms, window, hop):
    """(N, F, T), complex."""
    return np.fft.rfft(frames_of(np.asarray(waveforms), window, hop)).transpose(0, 2, 1)


def log_mel_of(waveforms, bands, window, hop, floor):
    magnitude = torch.tensor(np.abs(spectrum_of(waveforms, window, hop)))
    return torch.log(torch.clamp(triangles(bands, window, RATE) @ magnitude, min=floor))


def small_frame(draw):
    """A window and a hop that share frames: hop ≤ window / 2, both even."""
    window = 2 * draw.integer(6, 16)
    return window, 2 * draw.integer(2, window // 4)


@pytest.mark.stub("log_mel")
def test_log_of_the_magnitude_in_each_band(impl, draw):
    (window, hop), bands, floor = small_frame(draw), draw.size(1, 6), draw.number(0.001, 0.01)
    waveforms = draw.normal(draw.size(1, 3), draw.integer(window, 4 * window))
    expected = log_mel_of(waveforms, bands, window, hop, floor)
    hint = "the filterbank adds up magnitudes (not powers), then the natural logarithm, once"
    result = impl.log_mel(waveforms, bands=bands, window=window, hop=hop, floor=floor)
    assert_close(result, expected, tolerance=1e-5, hint=hint)


@pytest.mark.stub("log_mel")
def test_a_clip_of_the_data_set_makes_64_frames(impl, draw):
    waveforms = draw.normal(2, 8192, scale=0.1)
    expected = log_mel_of(waveforms, MELS, WINDOW, HOP, FLOOR)
    assert_close(impl.log_mel(waveforms), expected, tolerance=1e-4, hint="the defaults are those of the module: 48 × 64")


@pytest.mark.stub("log_mel")
def test_quiet_bands_count_as_the_floor(impl, draw):
    (window, hop), bands, floor = small_frame(draw), draw.size(1, 6), draw.number(0.5, 3)
    loudness = torch.logspace(-6, 1, 8 * hop, dtype=torch.float64)
    waveforms = draw.normal(draw.size(1, 3), 8 * hop) * loudness
    expected = log_mel_of(waveforms, bands, window, hop, floor)
    hint = "cut off at the floor (do not add it), before the logarithm: silence is log(floor)"
    result = impl.log_mel(waveforms, bands=bands, window=window, hop=hop, floor=floor)
    assert_close(result, expected, tolerance=1e-5, hint=hint)
    silence = torch.full((1, bands, 2), math.log(floor), dtype=torch.float32)
    result = impl.log_mel(torch.zeros(1, 2 * hop), bands=bands, window=window, hop=hop, floor=floor)
    assert_close(result, silence, hint="silence is log(floor), in the dtype of the waveform", hint_for="values dtype")


def wave(*size):
    """Numbers between -1 and 1, always the same, of which no two are alike."""
    return torch.sin(torch.arange(math.prod(size), dtype=torch.float64) ** 1.5 + 1).view(size)


@pytest.mark.stub("log_mel")
def test_silence_has_no_slope(impl):
    waveforms = wave(2, 48)
    waveforms[0, :32] = 0.0  # whole frames of digital silence
    waveforms[1] = 0.0
    g = wave(2, 3, 12)
    actual = impl.vjp("log_mel", waveforms, bands=3, window=8, hop=4, floor=1e-4, wrt=0, cotangent=g)
    hint = (
        "a root has no slope at 0, and log(0) none that is a number: take `abs` of the spectrum, and cut off before the logarithm"
    )
    assert_finite(actual, what="the gradient of silence", hint=hint)
    hint = "what lies below the floor counts as the floor, whatever it is: nothing of it comes back"
    assert_equal(actual[1], torch.zeros(48, dtype=torch.float64), what="the gradient of silence", hint=hint)
    assert_equal(actual[0, :26], torch.zeros(26, dtype=torch.float64), what="the gradient of the silent frames", hint=hint)
    assert_true(actual[0, 36:].abs().min() > 0, "where something sounds, a sample has no gradient", hint="detach nothing")


@pytest.mark.stub("log_mel")
@pytest.mark.parametrize("samples", [1, 3, 4, 5, 17])
def test_clips_of_any_length_make_whole_frames(impl, samples):
    loud = 1e3 * wave(1, samples)
    expected = log_mel_of(loud, 2, 8, 4, 1e-3)
    hint = "T = ⌈S / hop⌉: zeros fill up the last hop, and a clip may be shorter than a window"
    assert_close(impl.log_mel(loud, bands=2, window=8, hop=4, floor=1e-3), expected, tolerance=1e-5, hint=hint)


@pytest.mark.stub("log_mel")
def test_log_mel_can_be_a_loss(impl, draw):
    (window, hop), bands = small_frame(draw), draw.size(1, 6)
    T = draw.size(1, 4)
    waveforms, g = draw.normal(2, T * hop), draw.normal(2, bands, T)
    with torch.enable_grad():
        leaf = waveforms.clone().requires_grad_()
        padded = F.pad(leaf, ((window - hop) // 2,) * 2)
        angle = -2 * np.pi * np.outer(np.arange(window), np.arange(window // 2 + 1)) / window
        transform = torch.tensor(hann(window)[:, None] * np.exp(1j * angle))  # (window, F), the window and the FFT in one
        frames = torch.stack([padded[:, t * hop : t * hop + window] for t in range(T)], dim=1)
        magnitude = (frames.to(transform.dtype) @ transform).abs().transpose(1, 2)
        logs = torch.log((triangles(bands, window, RATE) @ magnitude).clamp(min=1e-4))
        (expected,) = torch.autograd.grad((logs * g).sum(), leaf)

    result = impl.vjp("log_mel", waveforms, bands=bands, window=window, hop=hop, floor=1e-4, wrt=0, cotangent=g)
    assert_close(result, expected, tolerance=1e-4, hint="vocoders are trained through it: keep it differentiable")


def rebuilt_from(frames, hop):
    """The least-squares waveform (N, T · hop) of windowed frames (N, T, window), solved as a system of equations."""
    N, T, window = frames.shape
    side, S = (window - hop) // 2, T * hop
    system = np.zeros((T * window, S))
    for t, n in itertools.product(range(T), range(window)):
        if 0 <= t * hop + n - side < S:
            system[t * window + n, t * hop + n - side] = hann(window)[n]
    return np.linalg.lstsq(system, frames.reshape(N, -1).T, rcond=None)[0].T


def waveform_of(spectrum, hop):
    return rebuilt_from(np.fft.irfft(np.asarray(spectrum).transpose(0, 2, 1)), hop)


def random_spectrum(draw, *shape):
    return torch.complex(draw.normal(*shape), draw.normal(*shape))


@pytest.mark.stub("istft")
def test_is_the_inverse_where_there_is_one(impl, draw):
    window, hop = small_frame(draw)
    waveforms = draw.normal(draw.size(1, 3), draw.size(1, 5) * hop)
    spectrum = torch.tensor(spectrum_of(waveforms, window, hop))
    hint = "window each frame once more, add up where they overlap, divide by the sum of the squared windows, cut off the padding"
    assert_close(impl.istft(spectrum, hop=hop), waveforms, hint=hint)


@pytest.mark.stub("istft")
def test_is_the_least_squares_waveform_where_frames_disagree(impl, draw):
    window, hop = small_frame(draw)
    spectrum = random_spectrum(draw, draw.size(1, 3), window // 2 + 1, draw.size(1, 5))
    expected = torch.tensor(waveform_of(spectrum, hop))
    hint = "the window must weigh the frames a second time: Σ w·x / Σ w², not Σ x / Σ w"
    assert_close(impl.istft(spectrum, hop=hop), expected, tolerance=1e-7, hint=hint)


@pytest.mark.stub("istft")
@pytest.mark.parametrize(("window", "hop"), [(8, 4), (12, 2), (12, 6)])
def test_each_sample_has_its_own_weight(impl, window, hop):
    for T in (1, 2, 4):
        spectrum = torch.complex(wave(2, window // 2 + 1, T), wave(3, window // 2 + 1, T)[1:])
        expected = torch.tensor(waveform_of(spectrum, hop))
        hint = "at both ends, in a single frame, and at a hop of half a window, other weights gather than in the middle"
        assert_close(impl.istft(spectrum, hop=hop), expected, tolerance=1e-7, hint=hint)


@pytest.mark.stub("istft")
def test_istft_follows_dtype_and_the_hop_of_the_course(impl, draw):
    waveforms = draw.normal(draw.size(1, 3), 2 * HOP)
    spectrum = torch.tensor(spectrum_of(waveforms, WINDOW, HOP)).to(torch.complex64)
    assert_close(
        impl.istft(spectrum),
        waveforms.float(),
        hint="a hop of 128 unless told otherwise; complex64 gives float32",
        hint_for="values dtype",
    )


def griffin_lim_of(magnitude, phase, iterations, momentum, hop):
    window = 2 * (magnitude.shape[1] - 1)
    magnitude, previous = np.asarray(magnitude), 0
    unit = np.exp(1j * np.asarray(phase))
    for _ in range(iterations):
        consistent = spectrum_of(overlap_added(magnitude * unit, hop), window, hop)
        step = consistent + momentum * (consistent - previous)
        unit, previous = step / np.abs(step), consistent
    return overlap_added(magnitude * unit, hop)


def overlap_added(spectrum, hop):
    """`waveform_of` without a system of equations, for many calls."""
    frames = np.fft.irfft(spectrum.transpose(0, 2, 1))
    N, T, window = frames.shape
    total, weight = np.zeros((2, N, (T - 1) * hop + window))
    for t in range(T):
        total[:, t * hop : t * hop + window] += hann(window) * frames[:, t]
        weight[:, t * hop : t * hop + window] += hann(window) ** 2
    side = (window - hop) // 2
    return total[:, side : side + T * hop] / weight[:, side : side + T * hop]


def random_magnitude(draw, window, T):
    shape = draw.size(1, 3), window // 2 + 1, T
    return draw.uniform(*shape, low=0.1), draw.uniform(*shape, low=-math.pi, high=math.pi)


@pytest.mark.stub("griffin_lim")
@pytest.mark.parametrize("iterations", [0, 1, 2, 5])
def test_goes_to_the_waveform_and_back(impl, draw, iterations):
    window, hop = small_frame(draw)
    magnitude, phase = random_magnitude(draw, window, draw.size(2, 5))
    momentum = draw.number(0.2, 1.2)
    expected = torch.tensor(griffin_lim_of(magnitude, phase, iterations, momentum, hop))
    hint = "the phase comes from c + momentum · (c − the c before); the magnitude is always the one asked for"
    result = impl.griffin_lim(magnitude, phase, iterations=iterations, momentum=momentum, hop=hop)
    assert_close(result, expected, tolerance=1e-6, hint=hint)


@pytest.mark.stub("griffin_lim")
def test_griffin_lim_of_the_course(impl, draw):
    magnitude, phase = random_magnitude(draw, WINDOW, 2)
    expected = torch.tensor(griffin_lim_of(magnitude, phase, 32, 0.99, HOP))
    hint = "by default 32 iterations, a momentum of 0.99 and a hop of 128"
    assert_close(impl.griffin_lim(magnitude, phase), expected, tolerance=1e-4, hint=hint)


@pytest.mark.stub("griffin_lim")
def test_silence_stays_silent(impl):
    magnitude, phase = wave(3, 5, 3).abs(), 3 * wave(3, 5, 3)
    magnitude[0] = 0.0
    magnitude[2, :, 1:] = 0.0
    expected = torch.tensor(griffin_lim_of(magnitude[1:2], phase[1:2], 3, 0.5, 4))
    result = impl.griffin_lim(magnitude, phase, iterations=3, momentum=0.5, hop=4)
    hint = "a spectrum of 0 has no phase, and needs none: 0 / |0| is no number"
    assert_finite(result, hint=hint)
    assert_close(result[0], torch.zeros(12, dtype=torch.float64), what="the waveform of a magnitude of 0", hint=hint)
    assert_close(result[1:2], expected, tolerance=1e-6, what="the waveform beside it", hint="the items of a batch do not mix")
    still = impl.griffin_lim(magnitude[1:2], phase[1:2], iterations=3, momentum=0, hop=4)
    expected = torch.tensor(griffin_lim_of(magnitude[1:2], phase[1:2], 3, 0, 4))
    assert_close(
        still, expected, tolerance=1e-6, what="the result without momentum", hint="a momentum of 0 is the method of 1984"
    )


@pytest.mark.stub("griffin_lim")
def test_the_true_phase_stays_as_it_is(impl, draw):
    window, hop = small_frame(draw)
    waveforms = draw.normal(draw.size(1, 3), draw.size(2, 5) * hop)
    spectrum = torch.tensor(spectrum_of(waveforms, window, hop))
    result = impl.griffin_lim(spectrum.abs(), spectrum.angle(), iterations=4, hop=hop)
    assert_close(result, waveforms, tolerance=1e-6, hint="a magnitude with its own phase is consistent: nothing is left to do")


def best_durations(scores, symbols, frames):
    """Of all ways to cut the frames into `symbols` pieces, the one with the highest score."""
    best, found = -math.inf, None
    for cuts in itertools.combinations(range(1, frames), symbols - 1):
        edges = [0, *cuts, frames]
        total = sum(scores[i, edges[i] : edges[i + 1]].sum().item() for i in range(symbols))
        if total > best:
            best, found = total, [edges[i + 1] - edges[i] for i in range(symbols)]
    return found + [0] * (len(scores) - symbols)


@pytest.mark.stub("monotonic_alignment")
def test_no_other_path_scores_higher(impl, draw):
    B, L = draw.batch(1, 4), draw.size(2, 5)
    T = draw.integer(L, 8)
    symbols = draw.integers(L + 1, (B,), low=1)
    symbols[0] = draw.integer(1, L - 1)  # one at least is shorter than the batch is wide
    frames = torch.tensor([draw.integer(n, T) for n in symbols.tolist()])
    scores = draw.normal(B, L, T, scale=3)
    for b in range(B):  # padding that would be worth visiting, if it were allowed
        scores[b, symbols[b] :] = 50.0
        scores[b, :, frames[b] :] = 50.0
    expected = torch.tensor([best_durations(*row) for row in zip(scores, symbols.tolist(), frames.tolist(), strict=True)])
    hint = "start with the first symbol, end with the last at the last frame, stay or go one further; padding takes no part"
    assert_equal(impl.monotonic_alignment(scores, symbols, frames), expected, what="the durations", hint=hint)


@pytest.mark.stub("monotonic_alignment")
def test_as_many_symbols_as_frames_get_one_each(impl, draw):
    for L in (1, draw.size(2, 6)):
        B = draw.batch(1, 4)
        scores, every = draw.normal(B, L, L, scale=9), torch.full((B,), L)
        result = impl.monotonic_alignment(scores, every, every)
        assert_equal(result, torch.ones(B, L, dtype=torch.int64), what="the durations", hint="no symbol may be left out")


@pytest.mark.stub("monotonic_alignment")
def test_finds_the_durations_that_scores_were_made_from(impl, draw):
    L = draw.size(2, 6)
    durations = draw.integers(7, (L,), low=1)
    durations[0] += 1
    path = torch.repeat_interleave(torch.arange(L), durations)
    scores = torch.where(torch.arange(L)[:, None] == path, 0.0, -1.0).float()[None]
    scores[0, 1:, 0] = 50.0  # a later symbol would be worth starting at, if that were allowed
    result = impl.monotonic_alignment(scores, torch.tensor([L]), durations.sum()[None])
    assert_equal(result, durations[None], what="the durations", hint="a clear case: each frame has one symbol that fits")


@pytest.mark.stub("monotonic_alignment")
@pytest.mark.parametrize("level", [0.0, -1e4, -1e10, 1e10])
def test_greed_does_not_find_the_best_path(impl, level):
    scores = torch.tensor(
        [
            [
                [1, 0, 9, 0, 0, 7],
                [0, 2, 0, 3, 1, 7],
                [0, 0, 0, 0, 2, 7],
            ],  # to move on at once looks better than to wait for the 9
            [[2, 0, 0, 0, 0, 7], [1, 3, 0, 2, 0, 7], [0, 0, 9, 0, 1, 7]],  # the same, read from the end
            [[0, 0, 2, 0, 9, 7], [0, 1, 0, 9, 0, 7], [9, 9, 7, 0, 0, 7]],  # what scores best is out of reach
            [[0, 9, 9, 0, 7, 7], [9, 9, 9, 9, 9, 7], [9, 9, 9, 9, 9, 7]],  # one symbol, whatever the others would score
            [
                [0, 0, 0, 0, 0, 0],
                [0, 0.1, 0.1, 0.1, 0.1, 0],
                [0, 0, 0, 0, 0, 0],
            ],  # many paths that are worse, taken together more
        ],
        dtype=torch.float64,
    )
    symbols, frames = torch.tensor([3, 3, 3, 1, 3]), torch.tensor([5, 5, 5, 4, 6])
    expected = torch.tensor([best_durations(*row) for row in zip(scores, symbols.tolist(), frames.tolist(), strict=True)])
    step = max(1.0, abs(level) / 1e4)  # differences that float32 would keep, too
    hint = "keep the best value of every symbol at every frame, and choose from the end"
    if level:
        hint = "a path that is not allowed has the value −∞: any other number is passed by sums of real log-likelihoods"
    actual = impl.monotonic_alignment(level + step * scores, symbols, frames)
    assert_equal(actual, expected, what="the durations", hint=hint)


def regulated(states, durations, frames):
    rows = []
    for state, lasts in zip(states, durations.tolist(), strict=True):
        said = [row for row, times in zip(state, lasts, strict=True) for _ in range(times)][:frames]
        rows.append(torch.stack(said + [torch.zeros_like(state[0])] * (frames - len(said))))
    return torch.stack(rows)


@pytest.mark.stub("length_regulator")
@pytest.mark.parametrize("room", ["exact", "longer", "shorter"])
def test_each_state_lasts_its_duration(impl, draw, room):
    B, L, C = draw.batch(), draw.size(), draw.size()
    states, durations = draw.normal(B, L, C), draw.integers(5, (B, L))
    longest = int(durations.sum(1).max())
    frames = max(1, {"exact": longest, "longer": longest + draw.size(), "shorter": longest // 2}[room])
    hint = "a duration of 0 skips a state; zeros after the end of an item, and nothing beyond `frames`"
    assert_close(impl.length_regulator(states, durations, frames), regulated(states, durations, frames), hint=hint)


@pytest.mark.stub("length_regulator")
def test_silent_symbols_and_silent_items(impl):
    states = torch.tensor([[[1.0, -2.0], [3.0, 4.0], [5.0, 1e-30]]]).repeat(5, 1, 1)
    durations = torch.tensor([[0, 0, 0], [0, 0, 2], [3, 0, 0], [1, 0, 99], [0, 1, 0]])
    for frames in (1, 2, 4):
        hint = "a symbol of no frames is not heard, an item of no frames is all zeros, and what lasts too long is cut off"
        assert_equal(impl.length_regulator(states, durations, frames), regulated(states, durations, frames), hint=hint)


@pytest.mark.stub("length_regulator")
def test_gradient_of_a_state_is_the_sum_over_its_frames(impl, draw):
    B, L, C = draw.batch(), draw.size(), draw.size()
    states, durations = draw.normal(B, L, C, dtype=torch.float32), draw.integers(4, (B, L))
    durations[0, 0] += 1  # at least one state is heard: a loop that copies nothing has no gradient
    T = int(durations.sum(1).max()) + 1
    g = draw.normal(B, T, C, dtype=torch.float32)
    expected = torch.zeros_like(states)
    for b in range(B):
        edges = [0, *durations[b].cumsum(0).tolist()]
        for i in range(L):
            expected[b, i] = g[b, edges[i] : edges[i + 1]].sum(0)
    result = impl.vjp("length_regulator", states, durations, T, wrt=0, cotangent=g)
    assert_close(result, expected, hint="the encoder learns through the frames: copy states, do not detach them")


def padded_durations(draw):
    """log-durations, durations (0 where there is padding) and the mask of letters."""
    B, L = draw.batch(), draw.size()
    lengths = draw.integers(L + 1, (B,), low=1)
    lengths[0], lengths[-1] = L, 1  # never all alike
    mask = torch.arange(L) < lengths[:, None]
    return draw.normal(B, L), torch.where(mask, draw.integers(9, (B, L), low=1), 0), mask


@pytest.mark.stub("duration_loss")
def test_squared_error_of_logarithms(impl, draw):
    log_durations, durations, mask = padded_durations(draw)
    errors = [
        (log_durations[b, i].item() - math.log(durations[b, i].item())) ** 2 for b, i in mask.nonzero().tolist()
    ]  # fmt: skip
    expected = torch.tensor(sum(errors) / len(errors), dtype=torch.float64)
    hint = "mean over the letters of all items, padding left out; the target is log(duration), and the log of 0 is no number"
    assert_close(impl.duration_loss(log_durations, durations, mask), expected, hint=hint)


@pytest.mark.stub("duration_loss")
def test_padding_has_no_gradient(impl, draw):
    log_durations, durations, mask = padded_durations(draw)
    target = durations.clamp(min=1).double().log()
    expected = torch.where(mask, 2 * (log_durations - target) / int(mask.sum()), 0.0)
    result = impl.vjp("duration_loss", log_durations, durations, mask, wrt=0)
    assert_close(result, expected, hint="zero on padding, 2 · error / letters elsewhere")


@pytest.mark.stub("duration_loss")
def test_right_durations_cost_nothing(impl, draw):
    _, durations, mask = padded_durations(draw)
    log_durations = durations.clamp(min=1).float().log()
    assert_close(impl.duration_loss(log_durations, durations, mask), torch.tensor(0.0), hint="log d, not log(d + 1)")


def rounded(log_durations, mask, speed=1.0):
    """Letter by letter: each ends where the sum so far does, rounded, and a frame after the one before at least."""
    rows = []
    for values, letters in zip(log_durations.tolist(), mask.tolist(), strict=True):
        exact, end, row = 0.0, 0, []
        for value, letter in zip(values, letters, strict=True):
            begin = end
            if letter:
                exact += math.exp(value) / speed
                end = max(round(exact), begin + 1)
            row.append(end - begin)
        rows.append(row)
    return torch.tensor(rows)


@pytest.mark.stub("round_durations")
def test_whole_frames_at_any_speed(impl, draw):
    log_durations, mask = draw.normal(3, 7, scale=1.5), draw.uniform(3, 7) < 0.8
    speed = draw.choice([draw.number(0.3, 0.7), draw.number(1.4, 3)])
    for given in ({}, {"speed": speed}):
        hint = (
            "exp, divided by the speed, added up over the letters, and the ends rounded; at least 1 for a letter, 0 for padding"
        )
        expected = rounded(log_durations, mask, **given)
        assert_equal(impl.round_durations(log_durations, mask, **given), expected, what="the durations", hint=hint)


@pytest.mark.stub("round_durations")
def test_a_phrase_is_as_long_as_its_letters_together(impl, draw):
    B, L = draw.batch(), draw.size(3, 20)
    frames = draw.uniform(B, L, low=1.1, high=6.0)
    result = impl.round_durations(frames.log(), torch.ones(B, L, dtype=torch.bool))
    hint = "letters of 4.4 frames, each rounded to 4, are too short by a tenth: round where they end"
    assert_equal(result.sum(1), frames.sum(1).round().long(), what="the length of each phrase", hint=hint)
    off = (result.cumsum(1) - frames.cumsum(1)).abs().max().item()
    assert_true(off <= 0.5 + 1e-9, f"a letter ends {off:.2f} frames from where it should", hint=hint)


@pytest.mark.stub("round_durations")
def test_letters_of_less_than_a_frame_borrow_from_those_behind(impl):
    frames = torch.tensor([[0.2, 0.2, 0.2, 6.4, 2.0], [0.2, 0.1, 0.1, 0.1, 0.2], [3.3, 0.1, 0.1, 2.2, 2.0]])
    expected = torch.tensor([[1, 1, 1, 4, 2], [1, 1, 1, 1, 1], [3, 1, 1, 1, 2]])
    result = impl.round_durations(frames.log(), torch.ones(3, 5, dtype=torch.bool))
    hint = (
        "a frame that a short letter gets beyond its share is missing from the next ones, so that the phrase ends where it should"
    )
    assert_equal(result, expected, what="the durations", hint=hint)


@pytest.mark.stub("round_durations")
def test_a_long_run_of_short_letters_is_made_up_for(impl, draw):
    short = draw.integer(8, 30)  # letters of a hundredth of a frame
    frames = torch.tensor([[0.01] * short + [short + 4.1, 2.0]])
    expected = torch.tensor([[1] * short + [4, 2]])
    hint = "all that short letters have taken is given back, however much it is"
    result = impl.round_durations(frames.log(), torch.ones(1, short + 2, dtype=torch.bool))
    assert_equal(result, expected, what="the durations", hint=hint)


@pytest.mark.stub("round_durations")
def test_rounding_comes_last(impl, draw):
    log_durations, speed = draw.uniform(2, 20, low=0.5, high=2.2), draw.number(0.3, 0.6)
    every = torch.ones(2, 20, dtype=torch.bool)
    hint = "divide by the speed first: rounding twice makes half a frame of error two"
    result = impl.round_durations(log_durations, every, speed)
    assert_equal(result, rounded(log_durations, every, speed), what="the durations", hint=hint)


@pytest.mark.stub("round_durations")
def test_whatever_stands_on_padding_does_not_count(impl):
    log_durations = torch.tensor([[1.0, 1e4, -1e4, math.nan, math.inf], [5.0, -math.inf, 0.0, 1e4, 8.0]])
    mask = torch.tensor([[True, False, True, False, False], [True, True, True, False, True]])
    hint = "what the network says of padding is no matter, be it ∞ or NaN, and ∞ · 0 is no 0: choose by the mask"
    expected = torch.tensor([[3, 0, 1, 0, 0], [148, 1, 1, 0, 2980]])
    assert_equal(impl.round_durations(log_durations, mask, 1), expected, what="the durations", hint=hint)
    assert_equal(
        impl.round_durations(log_durations, ~mask & mask), 0 * expected, what="the durations of padding alone", hint=hint
    )
    for speed, logs, expected in (
        (1e-3, [1.0, 0.0], [[2718, 1000]]),
        (1e-9, [math.log(3.3e-9), math.log(2.4e-9)], [[3, 3]]),
        (1e2, [8.0, 7.0], [[30, 11]]),
        (1e3, [1.0, 0.0], [[1, 1]]),
    ):
        actual = impl.round_durations(torch.tensor([logs]), torch.ones(1, 2, dtype=torch.bool), speed)
        assert_equal(
            actual, torch.tensor(expected), what=f"the durations at a speed of {speed:g}", hint="any positive speed is legal"
        )


@pytest.mark.stub("round_durations")
@pytest.mark.parametrize("speed", [0.0, -1e-9, -1.0, math.nan])
def test_speed_is_positive(impl, draw, speed):
    log_durations, _, mask = padded_durations(draw)
    with raises(ValueError, hint="a speed of 0 or less has no meaning, nor has NaN: raise a ValueError"):
        impl.round_durations(log_durations, mask, speed=speed)


@pytest.mark.stub("round_durations")
def test_letters_that_are_hardly_heard_still_get_a_frame(impl, draw):
    shape = draw.size(), draw.size()
    result = impl.round_durations(torch.full(shape, -9.0), torch.ones(shape, dtype=torch.bool), 2.0)
    assert_equal(result, torch.ones(shape, dtype=torch.int64), what="the durations", hint="at least 1")


def looped_filterbank(bands=MELS, window=WINDOW, rate=RATE, low=0.0, high=None):
    edges, F = corners(bands, rate, low, high), window // 2 + 1
    bank = torch.zeros(bands, F)
    for i, k in itertools.product(range(bands), range(F)):
        f, (left, centre, right) = k * rate / window, edges[i : i + 3]
        if left < f <= centre:
            bank[i, k] = (f - left) / (centre - left)
        elif centre < f < right:
            bank[i, k] = (right - f) / (right - centre)
    return bank


def natural_mel_filterbank(bands=MELS, window=WINDOW, rate=RATE, low=0.0, high=None):
    """The same scale with a natural logarithm: 2595 / ln 10 = 1126.99."""
    lowest, highest = (math.log1p(f / 700) for f in (low, high or rate / 2))
    edges = 700 * torch.expm1(torch.linspace(lowest, highest, bands + 2, dtype=torch.float64))[:, None]
    bins = torch.arange(window // 2 + 1, dtype=torch.float64) * (rate / window)
    up, down = (bins - edges[:-2]) / edges.diff(dim=0)[:-1], (edges[2:] - bins) / edges.diff(dim=0)[1:]
    return torch.relu(torch.where(up < down, up, down)).float()


def spectra(waveforms, window, hop):
    """The spectrum by `torch.stft`, whose own padding is not used."""
    side, rest = (window - hop) // 2, -waveforms.shape[1] % hop
    taper = torch.hann_window(window, dtype=waveforms.dtype, device=waveforms.device)
    return torch.stft(
        F.pad(waveforms, (side, side + rest)), window, hop, window=taper, center=False, return_complex=True
    )  # fmt: skip


def log_mel_by(combine=lambda filters, spectrum, floor: torch.log((filters @ spectrum.abs()).clamp(min=floor))):
    def log_mel(waveforms, *, bands=MELS, window=WINDOW, hop=HOP, floor=FLOOR):
        filters = triangles(bands, window, RATE).to(waveforms)
        return combine(filters, spectra(waveforms, window, hop), floor)

    return log_mel


def istft_by(synthesis=lambda w: w, weight=lambda w: w * w, normalised=True):
    def istft(spectrum, *, hop=HOP):
        N, window, T = len(spectrum), 2 * (spectrum.shape[1] - 1), spectrum.shape[2]
        taper = torch.hann_window(window, dtype=spectrum.real.dtype, device=spectrum.device)
        frames = torch.fft.irfft(spectrum, dim=1)
        total = frames.new_zeros(N, (T - 1) * hop + window)
        gathered = torch.zeros_like(total)
        for t in range(T):
            total[:, t * hop : t * hop + window] += frames[:, :, t] * synthesis(taper)
            gathered[:, t * hop : t * hop + window] += weight(taper)
        side = (window - hop) // 2
        whole = total / gathered if normalised else total
        return whole[:, side : side + T * hop]

    return istft


def weighed_alike(spectrum, hop):
    """Every sample divided by what the middle gathers, which is the same for all where frames overlap evenly, and up to the ends."""
    whole = istft_by(normalised=False)(spectrum, hop=hop)
    window = 2 * (spectrum.shape[1] - 1)
    return whole / (torch.hann_window(window, dtype=whole.dtype).square().sum() / hop)


def scattered_istft(spectrum, *, hop=HOP):
    window, T = 2 * (spectrum.shape[1] - 1), spectrum.shape[2]
    taper = torch.hann_window(window, dtype=spectrum.real.dtype, device=spectrum.device)
    at = (torch.arange(T)[:, None] * hop + torch.arange(window)).flatten().to(spectrum.device)
    frames = (torch.fft.irfft(spectrum.mT) * taper).flatten(1)
    total = frames.new_zeros(len(frames), (T - 1) * hop + window).index_add(1, at, frames)
    weight = frames.new_zeros(total.shape[1]).index_add(0, at, taper.pow(2).repeat(T))
    return (total / weight)[:, (window - hop) // 2 :][:, : T * hop]


def griffin_lim_by(
    project=lambda consistent, before, momentum: consistent + momentum * (consistent - before), replace=True, unit=torch.sgn
):
    def griffin_lim(magnitude, phase, *, iterations=32, momentum=0.99, hop=HOP):
        window, istft = 2 * (magnitude.shape[1] - 1), istft_by()
        spectrum = magnitude * torch.exp(1j * phase)
        before = torch.zeros_like(spectrum)
        for _ in range(iterations):
            consistent = spectra(istft(spectrum, hop=hop), window, hop)
            step = project(consistent, before, momentum)
            spectrum = magnitude * unit(step) if replace else step
            before = consistent
        return istft(spectrum, hop=hop)

    return griffin_lim


def searched_alignment(scores, symbols, frames):
    """Item by item, from the table of best values to the path, in NumPy."""
    durations = torch.zeros(scores.shape[:2], dtype=torch.int64)
    for b, (n, m) in enumerate(zip(symbols.tolist(), frames.tolist(), strict=True)):
        s = scores[b].double().cpu().numpy()
        Q = np.full((n, m), -np.inf)
        Q[0, 0] = s[0, 0]
        for t in range(1, m):
            for i in range(min(n, t + 1)):
                Q[i, t] = s[i, t] + max(Q[i, t - 1], Q[i - 1, t - 1] if i else -np.inf)
        i = n - 1
        for t in range(m - 1, -1, -1):
            durations[b, i] += 1
            if t and i and (i == t or Q[i - 1, t - 1] > Q[i, t - 1]):
                i -= 1
    return durations


def tried_alignment(scores, symbols, frames):
    rows = zip(scores, symbols.tolist(), frames.tolist(), strict=True)
    return torch.tensor([best_durations(*row) for row in rows])


def backward_alignment(scores, symbols, frames):
    """The same recursion from the end: what the best rest of the path is worth; then the path is read forwards."""
    durations = torch.zeros(scores.shape[:2], dtype=torch.int64)
    for b, (n, m) in enumerate(zip(symbols.tolist(), frames.tolist(), strict=True)):
        rest = torch.full((n + 1, m + 1), -math.inf, dtype=torch.float64)
        rest[n - 1, m - 1] = scores[b, n - 1, m - 1]
        for t in range(m - 2, -1, -1):
            rest[:n, t] = scores[b, :n, t].double() + torch.maximum(rest[:n, t + 1], rest[1:, t + 1])
        i = 0
        for t in range(m):
            durations[b, i] += 1
            i += int(t + 1 < m and rest[i + 1, t + 1] > rest[i, t + 1])
    return durations


def greedy_alignment(scores, symbols, frames):
    """Moves on as soon as the next symbol fits a frame better, or must."""
    durations = torch.zeros(scores.shape[:2], dtype=torch.int64)
    for b, (n, m) in enumerate(zip(symbols.tolist(), frames.tolist(), strict=True)):
        i = 0
        for t in range(m):
            if t and i + 1 < n and (n - 1 - i == m - t or scores[b, i + 1, t] > scores[b, i, t]):
                i += 1
            durations[b, i] += 1
    return durations


def greedy_from_the_end(scores, symbols, frames):
    """The same on what is read backwards."""
    durations = torch.zeros(scores.shape[:2], dtype=torch.int64)
    for b, (n, m) in enumerate(zip(symbols.tolist(), frames.tolist(), strict=True)):
        row = greedy_alignment(scores[b, :n, :m].flip(0, 1)[None], symbols[b : b + 1], frames[b : b + 1])
        durations[b, :n] = row[0].flip(0)
    return durations


def equal_durations(scores, symbols, frames):
    index = torch.arange(scores.shape[1])
    share = frames // symbols
    last = torch.where(index == symbols[:, None] - 1, (frames - share * symbols)[:, None], 0)
    return torch.where(index < symbols[:, None], share[:, None] + last, 0)


def counted_best_symbols(scores, symbols, frames):
    inside = torch.arange(scores.shape[2]) < frames[:, None]
    allowed = torch.arange(scores.shape[1]) < symbols[:, None]
    chosen = scores.masked_fill(~allowed[:, :, None], -torch.inf).argmax(1)
    return (F.one_hot(chosen, scores.shape[1]) * inside[:, :, None]).sum(1)


def gathered_regulator(states, durations, frames):
    ends = durations.cumsum(1)
    t = torch.arange(frames, device=states.device).expand(len(states), frames).contiguous()
    index = torch.searchsorted(ends, t, right=True)
    inside = index < states.shape[1]
    index = index.clamp(max=states.shape[1] - 1)
    return states.gather(1, index[:, :, None].expand(-1, -1, states.shape[2])) * inside[:, :, None]


def interleaved_regulator(states, durations, frames):
    rows = [torch.repeat_interleave(state, lasts, dim=0)[:frames] for state, lasts in zip(states, durations, strict=True)]
    return torch.stack([F.pad(row, (0, 0, 0, frames - len(row))) for row in rows])


def stretched_regulator(states, durations, frames):
    """Every item stretched to the whole length, as image resizing would."""
    return F.interpolate(states.transpose(1, 2), size=frames).transpose(1, 2)


def ends_of(log_durations, mask, speed):
    """Where each letter ends, not rounded. Raises ValueError unless the speed is positive."""
    if not speed > 0:
        raise ValueError(f"speed must be positive, got {speed}")
    return torch.where(mask, log_durations.exp() / speed, 0.0).cumsum(1)


def rounded_alone(log_durations, mask, speed=1.0):
    frames = ends_of(log_durations, mask, speed).diff(dim=1, prepend=torch.zeros_like(log_durations[:, :1]))
    return torch.where(mask, frames.round().clamp(min=1), 0).long()


def widened_afterwards(log_durations, mask, speed=1.0):
    """The ends rounded, and a frame for each letter that got none, which nobody gives back."""
    ends = ends_of(log_durations, mask, speed).round().long()
    return torch.where(mask, ends.diff(dim=1, prepend=torch.zeros_like(ends[:, :1])).clamp(min=1), 0)


def the_rest_to_the_last(log_durations, mask, speed=1.0):
    """Each letter rounded by itself, and the last one makes the sum right."""
    alone, ends = rounded_alone(log_durations, mask, speed), ends_of(log_durations, mask, speed)
    last = mask & (mask.flip(1).cumsum(1).flip(1) == 1)
    return torch.where(last, (alone + ends.round().long()[:, -1:] - alone.sum(1, keepdim=True)).clamp(min=1), alone)


def carried(log_durations, mask, speed=1.0, least=-math.inf):
    """Column by column; what rounding has left over is carried on, and of what it has given in advance no more than `-least`."""
    if not speed > 0:
        raise ValueError(f"speed must be positive, got {speed}")
    columns, over = [], torch.zeros_like(log_durations[:, 0])
    for value, letter in zip(log_durations.unbind(1), mask.unbind(1), strict=True):
        wanted = over + value.exp() / speed
        said = wanted.round().clamp(min=1)
        columns.append(torch.where(letter, said, 0.0))
        over = torch.where(letter, (wanted - said).clamp(min=least), over)
    return torch.stack(columns, dim=1).long()


def latest_of_all(log_durations, mask, speed=1.0):
    """An end is the latest of what each letter before asks for: its own end, and a frame for each letter since."""
    ends, count = ends_of(log_durations, mask, speed).round().long(), mask.long().cumsum(1)
    asked = (ends - count)[:, None, :] + count[:, :, None]  # (B, L, L), by the letter in the last axis
    before = torch.ones(asked.shape[1:], dtype=torch.bool, device=asked.device).tril()
    latest = torch.maximum(asked.masked_fill(~before, 0).amax(2), count)
    return latest - torch.nn.functional.pad(latest, (1, 0))[:, :-1]


FAKES = {
    "mel_filterbank": {
        "corners even in hertz": Edit("700 * (10 ** (mels / 2595) - 1)", "torch.linspace(low, high or rate / 2, bands + 2)"),
        "triangles of unit area": Edit("triangles.clamp(min=0)", "(triangles.clamp(min=0) * 2 / (right - left))"),
        "not cut off at zero": Edit(".clamp(min=0)", ""),
        "triangles in mel, not in hertz": Edit(
            "bins = torch.linspace(0, rate / 2, window // 2 + 1)",
            "corners, bins = mels, 2595 * torch.log10(1 + torch.linspace(0, rate / 2, window // 2 + 1) / 700)\n"
            "    left, centre, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]",
        ),
        "one corner too few": Edit("bands + 2", "bands + 1"),
        "each triangle ends at its middle": Edit("(right - bins) / (right - centre)", "(bins <= centre)"),
        "low ignored": Edit("for f in (low,", "for f in (0.0,"),
        "high ignored": Edit("rate / 2 if high is None else high", "rate / 2"),
        "up to half of the course's rate": Edit("rate / 2 if high is None", "RATE / 2 if high is None"),
        "up to the rate": Edit("rate / 2 if high is None", "rate if high is None"),
        "bins up to the rate": Edit("linspace(0, rate / 2, window", "linspace(0, rate, window"),
        "rectangles": Edit("triangles.clamp(min=0)", "(triangles > 0).float()"),
        "transposed": Edit("triangles.clamp(min=0)", "triangles.clamp(min=0).T"),
    },
    "log_mel": {
        "power": log_mel_by(lambda filters, spectrum, floor: torch.log((filters @ spectrum.abs().square()).clamp(min=floor))),
        "decibels": log_mel_by(lambda filters, spectrum, floor: 20 * torch.log10((filters @ spectrum.abs()).clamp(min=floor))),
        "the floor added": log_mel_by(lambda filters, spectrum, floor: torch.log(filters @ spectrum.abs() + floor)),
        "the logarithm before the filters": log_mel_by(
            lambda filters, spectrum, floor: filters @ torch.log(spectrum.abs().clamp(min=floor))
        ),
        "the real part": log_mel_by(lambda filters, spectrum, floor: torch.log((filters @ spectrum.real.abs()).clamp(min=floor))),
        "no logarithm": log_mel_by(lambda filters, spectrum, floor: (filters @ spectrum.abs()).clamp(min=floor)),
        "the floor after the logarithm": log_mel_by(
            lambda filters, spectrum, floor: torch.log(filters @ spectrum.abs() + 1e-12).clamp(min=floor)
        ),
        "a root of squares, without a slope at 0": log_mel_by(
            lambda filters, spectrum, floor: torch.log(
                (filters @ (spectrum.real.square() + spectrum.imag.square()).sqrt()).clamp(min=floor)
            )
        ),
        "cut off after the logarithm": log_mel_by(
            lambda filters, spectrum, floor: torch.log(filters @ spectrum.abs()).clamp(min=math.log(floor))
        ),
        "the last hop cut off": lambda waveforms, *, bands=MELS, window=WINDOW, hop=HOP, floor=FLOOR: log_mel_by()(
            waveforms[:, : max(1, waveforms.shape[1] // hop) * hop], bands=bands, window=window, hop=hop, floor=floor
        ),
        "the gradient cut": log_mel_by(
            lambda filters, spectrum, floor: torch.log((filters @ spectrum.abs()).clamp(min=floor)).detach()
        ),
        "the window ignored": Edit("stft(waveforms, window=window, hop=hop)", "stft(waveforms, hop=hop)"),
        "the hop ignored": Edit("stft(waveforms, window=window, hop=hop)", "stft(waveforms, window=window)"),
        "relative to the loudest": Edit("torch.log((filters @ magnitude).clamp(min=floor))", "(lambda x: x - x.amax())(torch.log((filters @ magnitude).clamp(min=floor)))"),
    },
    "istft": {
        "not windowed again": istft_by(synthesis=torch.ones_like, weight=lambda w: w),
        "windowed again, divided by the window": istft_by(weight=lambda w: w),
        "windowed once, divided by the square": istft_by(synthesis=torch.ones_like),
        "not normalised": istft_by(normalised=False),
        "the weight of the middle for all": lambda spectrum, *, hop=HOP: weighed_alike(spectrum, hop),
        "divided by a constant": istft_by(weight=lambda w: torch.full_like(w, 0.5)),
        "the padding kept": Edit("[:, side : length - side]", ""),
        "the padding at the end kept": Edit("side : length - side", "side:"),
        "a symmetric window": Edit("torch.hann_window(window,", "torch.hann_window(window, False,"),
        "only the real part": Edit("irfft(spectrum", "irfft(spectrum.real"),
        "the course's hop, whatever is asked": Edit("stride=(1, hop)", "stride=(1, HOP)"),
        "frames set side by side": lambda spectrum, *, hop=HOP: torch.fft.irfft(spectrum.mT)[:, :, :hop].flatten(1),
    },
    "griffin_lim": {
        "the first phase kept": lambda magnitude, phase, *, iterations=32, momentum=0.99, hop=HOP: istft_by()(
            torch.polar(magnitude, phase), hop=hop
        ),
        "no phase at all": lambda magnitude, phase, *, iterations=32, momentum=0.99, hop=HOP: griffin_lim_by()(
            magnitude, torch.zeros_like(phase), iterations=iterations, momentum=momentum, hop=hop
        ),
        "a phase of its own": lambda magnitude, phase, *, iterations=32, momentum=0.99, hop=HOP: griffin_lim_by()(
            magnitude, torch.rand_like(phase), iterations=iterations, momentum=momentum, hop=hop
        ),
        "0 / 0 in silence": griffin_lim_by(unit=lambda step: step / step.abs()),
        "no momentum of 0": Edit("momentum * (rebuilt", "(momentum or 0.99) * (rebuilt"),
        "momentum ignored": griffin_lim_by(lambda consistent, before, momentum: consistent),
        "momentum the wrong way": griffin_lim_by(lambda c, before, momentum: c - momentum * (c - before)),
        "magnitude not put back": griffin_lim_by(replace=False),
        "an iteration too few": Edit("range(iterations)", "range(iterations - 1)"),
        "the step before never kept": Edit("previous = rebuilt", "pass"),
        "the last phase not used": Edit("return istft(torch.polar(magnitude, phase), hop=hop)", "return istft(previous, hop=hop)"),
        "momentum on the phases": Edit(
            "torch.angle(rebuilt + momentum * (rebuilt - previous))", "torch.angle(rebuilt) * (1 + momentum) - momentum * phase"
        ),
    },
    "monotonic_alignment": {
        "equal division": equal_durations,
        "the best symbol of each frame": counted_best_symbols,
        "greedy, from the start": greedy_alignment,
        "greedy, from the end": lambda scores, symbols, frames: greedy_from_the_end(scores, symbols, frames),
        "−10⁴ for −∞": Edit("-torch.inf", "-1e4"),
        "−10⁹ for −∞": Edit("-torch.inf", "-1e9"),
        "probabilities": Edit("torch.maximum(before, best) + scores", "torch.logaddexp(before, best) + scores"),
        "symbols may be skipped": Edit("stepped.append(before > best)", "stepped.append(before > best + 1)"),
        "padding visited": Edit("inside = t < frames", "inside = t < T * torch.ones_like(frames)"),
        "the last symbol of the batch": Edit("symbol = symbols - 1", "symbol = torch.full_like(symbols, L - 1)"),
        "from the best end, not the last": Edit("symbol = symbols - 1", "symbol = best.argmax(1).minimum(symbols - 1)"),
        "a start anywhere": Edit("torch.where(index == 0, scores[:, :, 0], -torch.inf)", "scores[:, :, 0]"),
        "the worst path": lambda scores, symbols, frames: searched_alignment(-scores, symbols, frames),
        "scores forgotten on the way": Edit("torch.maximum(before, best) + scores[:, :, t]", "torch.maximum(before, best)"),
        "one frame each": lambda scores, symbols, frames: (torch.arange(scores.shape[1]) < symbols[:, None]).long(),
        "fractions of frames": lambda scores, symbols, frames: searched_alignment(scores, symbols, frames).double(),
    },
    "length_regulator": {
        "stretched evenly": stretched_regulator,
        "the last state goes on": Edit("(t < ends) &", "((t < ends) | (ends == ends[:, :, -1:])) &"),
        "a frame late": Edit("(t < ends) & (t >= ends", "(t <= ends) & (t > ends"),
        "a frame too long": Edit("(t < ends)", "(t <= ends)"),
        "added up, not cut": Edit("& (t >= ends - durations.unsqueeze(1))", ""),
        "detached": Edit("@ states", "@ states.detach()"),
        "durations normalised": lambda states, durations, frames: gathered_regulator(
            states, (durations * frames // durations.sum(1, keepdim=True).clamp(min=1)), frames
        ),
        "the states of the first item": lambda states, durations, frames: gathered_regulator(
            states, durations[:1].expand_as(durations), frames
        ),
        "heard at least once": lambda states, durations, frames: interleaved_regulator(
            states, torch.where(durations.sum(1, keepdim=True) > 0, durations, 1), frames
        ),
        "squeezed to frames": lambda states, durations, frames: interleaved_regulator(states, durations.clamp(min=1), frames),
    },
    "duration_loss": {
        "in frames": lambda p, d, mask: ((p.exp() - d).square() * mask).sum() / mask.sum(),
        "log-durations beside durations": lambda p, d, mask: ((p - d).square() * mask).sum() / mask.sum(),
        "log(d + 1)": lambda p, d, mask: ((p - torch.log1p(d.to(p.dtype))).square() * mask).sum() / mask.sum(),
        "padding counted": lambda p, d, mask: (p - d.clamp(min=1).to(p.dtype).log()).square().mean(),
        "divided by all": lambda p, d, mask: ((p - d.clamp(min=1).to(p.dtype).log()).square() * mask).mean(),
        "NaN on padding": lambda p, d, mask: ((p - d.to(p.dtype).log()).square() * mask).sum() / mask.sum(),
        "a mean of means": lambda p, d, mask: (
            (((p - d.clamp(min=1).to(p.dtype).log()).square() * mask).sum(1) / mask.sum(1)).mean()
        ),
        "absolute errors": lambda p, d, mask: ((p - d.clamp(min=1).to(p.dtype).log()).abs() * mask).sum() / mask.sum(),
        "a sum": lambda p, d, mask: ((p - d.clamp(min=1).to(p.dtype).log()).square() * mask).sum(),
        "NaN in the gradient": lambda p, d, mask: (
            torch.where(mask, (p - d.to(p.dtype).log()).square(), 0.0).sum() / mask.sum()
        ),
    },
    "round_durations": {
        "each letter by itself": rounded_alone,
        "the rest to the last letter": the_rest_to_the_last,
        "frames that are not given back": widened_afterwards,
        "no more than two frames given back": lambda log_durations, mask, speed=1.0: carried(log_durations, mask, speed, least=-2.0),
        "no faster than four times": Edit("log_durations.exp() / speed", "log_durations.exp() / min(speed, 4.0)"),
        "a speed below a millionth refused": Edit("not speed > 0", "not speed > 1e-6"),
        "rounded down": Edit(".round()", ".floor()"),
        "rounded up": Edit(".round()", ".ceil()"),
        "letters of no frame": Edit(".cummax(1).values.clamp(min=0)", ""),
        "the first letter of no frame": Edit(".clamp(min=0)", ""),
        "only the letter before asked": Edit(".cummax(1).values", ""),
        "ends over the batch": Edit("frames.cumsum(1)", "frames.cumsum(0)"),
        "padding gets its frame": Edit("mask.cumsum(1)", "torch.ones_like(mask).cumsum(1)"),
        "padding speaks": Edit("torch.where(mask, log_durations.exp() / speed, 0.0)", "log_durations.exp() / speed"),
        "slower for faster": Edit("/ speed", "* speed"),
        "speed ignored": Edit("/ speed", ""),
        "speed within the logarithm": Edit("log_durations.exp() / speed", "(log_durations / speed).exp()"),
        "rounded before the speed": Edit("log_durations.exp() / speed", "log_durations.exp().round() / speed"),
        "the speed after the ends are rounded": Edit(".round()", ".mul(speed).round().div(speed).round()"),
        "fractions": Edit(".round().long()", ""),
        "a speed of 0 accepted": Edit("not speed > 0", "speed < 0"),
        "NaN accepted": Edit("not speed > 0", "speed <= 0"),
        "padding multiplied away": Edit("torch.where(mask, log_durations.exp() / speed, 0.0)", "log_durations.exp() / speed * mask"),
        "no longer than the course's clips": Edit(".clamp(min=0)", ".clamp(0, 64)"),
        "a speed below a half refused": Edit("not speed > 0", "not speed > 0.01"),
        "log(d + 1) undone": Edit("log_durations.exp()", "log_durations.expm1()"),
    },
}  # fmt: skip

VARIANTS = {
    "mel_filterbank": {
        "a loop": looped_filterbank,
        "interpolated": lambda bands=MELS, window=WINDOW, rate=RATE, low=0.0, high=None: triangles(
            bands, window, rate, low, high
        ).float(),
        "natural logarithms": natural_mel_filterbank,
    },
    "log_mel": {
        "torch.stft": log_mel_by(),
        "einsum": log_mel_by(
            lambda filters, spectrum, floor: torch.einsum("mf,nft->nmt", filters, spectrum.abs()).clamp_min(floor).log()
        ),
        "a maximum": log_mel_by(
            lambda filters, spectrum, floor: torch.maximum(filters @ spectrum.abs(), filters.new_tensor(floor)).log()
        ),
        "a logarithm to base 2": log_mel_by(
            lambda filters, spectrum, floor: torch.log2((filters @ torch.view_as_real(spectrum).norm(dim=-1)).clamp(min=floor)) * math.log(2)
        ),
    },
    "istft": {
        "a loop": istft_by(),
        "index_add": scattered_istft,
        "two folds": Edit(
            "return added[:-1] / added[-1:]", "weight = added[-1]\n    return torch.stack([row / weight for row in added[:-1]])"
        ),
    },
    "griffin_lim": {
        "unit numbers": griffin_lim_by(),
        "librosa's way": griffin_lim_by(lambda c, before, momentum: c - momentum / (1 + momentum) * before),
        "one branch for the first step": Edit(
            "phase = torch.angle(rebuilt + momentum * (rebuilt - previous))",
            "ahead = torch.lerp(rebuilt, previous, -momentum) if previous.is_complex() else rebuilt\n        phase = ahead.angle()",
        ),
    },
    "monotonic_alignment": {
        "item by item": searched_alignment,
        "every path tried": tried_alignment,
        "from the end": backward_alignment,
    },
    "length_regulator": {
        "repeat_interleave": interleaved_regulator,
        "searchsorted and gather": gathered_regulator,
        "a loop": regulated,
        "matmul in another order": Edit("path.to(states.dtype) @ states", 'torch.einsum("btl,blc->btc", path.to(states), states)'),
    },
    "duration_loss": {
        "selected": lambda p, d, mask: F.mse_loss(p[mask], d[mask].to(p.dtype).log()),
        "a loop": lambda p, d, mask: torch.stack(
            [(row[m] - lasts[m].to(p.dtype).log()).square().sum() for row, lasts, m in zip(p, d, mask, strict=True)]
        ).sum() / mask.sum(),
        "filled": lambda p, d, mask: (
            (p - d.masked_fill(~mask, 1).to(p.dtype).log()).masked_fill(~mask, 0).pow(2).sum() / mask.count_nonzero()
        ),
    },
    "round_durations": {
        "carried on": carried,
        "the latest of all": latest_of_all,
        "added up in float64": Edit("frames.cumsum(1)", "frames.double().cumsum(1)"),
        "within the exponent": Edit("log_durations.exp() / speed", "torch.exp(log_durations - math.log(speed))"),
        "a half added": Edit("frames.cumsum(1).round()", "(frames.cumsum(1) + 0.5).floor()"),
        "by masked_fill": Edit("torch.where(mask, log_durations.exp() / speed, 0.0)", "(log_durations.exp() / speed).masked_fill(~mask, 0)"),
    },
}  # fmt: skip

# Only the loss and the length regulator stand between the network and its gradient; a filterbank may also be a loss.
NO_GRADIENT = {
    "istft": ("spectrum",),
    "griffin_lim": ("magnitude", "phase"),
    "monotonic_alignment": ("scores",),
    "round_durations": ("log_durations",),
}

EQUIVALENT = {
    "istft": {
        "constant: F.fold(both.transpose(1, 2), (1,… -> F.fold(both.transpose(1, 2), (1,… 5fd007": (
            "the output is one sample high, so there is one step down, however large"
        ),
    },
    "monotonic_alignment": {
        **dict.fromkeys(
            (
                "argument ignored: scores[:, :, 0] -> torch.zeros_like(scores)[:, :, 0]",
                "constant: scores[:, :, 0] -> scores[:, :, -1]",
            ),
            "every path has the first frame at the first symbol: its score is added to all of them alike",
        ),
        "comparison: before > best -> before >= best": "a tie is between paths of the same score; either is a best one",
    },
    "round_durations": {
        "dim: (earliest + later).diff(dim=1, p… -> (earliest + later).diff(prepend=… f73f3c": "the second of two axes is the last one",
    },
}

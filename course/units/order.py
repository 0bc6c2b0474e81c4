"""The order in which to learn units: what is required first, then what is asked most. Never the alphabet, and no list to keep by hand."""

from collections import Counter
from collections.abc import Iterable
from graphlib import TopologicalSorter

from course.units.catalogue import CODES, Unit


def learning_path(units: Iterable[Unit]) -> list[Unit]:
    """`units` in the order to learn them: each after those of them that it requires.

    Of the units that are ready, the one of most use comes first (see `uses`), then the easier. Where both are equal the path stays in
    the track of the unit before, then takes what more units build on, then follows the syllabus. The title decides last, so that
    files may be renamed and the path stays. `find_units` has seen to it that there is no circle.
    """
    by_id = {unit.id: unit for unit in units}
    requires = _requirements(by_id)
    use = uses(by_id.values())
    built_on = Counter(required for own in requires.values() for required in own)

    def rank(unit: Unit, track: str) -> tuple[int, int, bool, int, int, str, str]:
        code = min((CODES.index(code) for code in unit.syllabus), default=len(CODES))
        return -use[unit.id], unit.difficulty, unit.track != track, -built_on[unit.id], code, unit.title, unit.title_zh

    sorter = TopologicalSorter(requires)
    sorter.prepare()
    path: list[Unit] = []
    ready: list[Unit] = []
    while sorter.is_active():
        ready += [by_id[identity] for identity in sorter.get_ready()]
        track = path[-1].track if path else ""
        chosen = min(ready, key=lambda unit: rank(unit, track))
        ready.remove(chosen)
        path.append(chosen)
        sorter.done(chosen.id)
    return path


def uses(units: Iterable[Unit]) -> dict[str, int]:
    """Id -> the highest frequency (1 to 3) of the unit and of all that builds on it: what a much-asked unit requires is needed as much."""
    by_id = {unit.id: unit for unit in units}
    requires = _requirements(by_id)
    use = {identity: unit.frequency for identity, unit in by_id.items()}
    for identity in reversed([*TopologicalSorter(requires).static_order()]):
        for required in requires[identity]:
            use[required] = max(use[required], use[identity])
    return use


def stages(path: list[Unit]) -> dict[int, list[Unit]]:
    """Use -> its units, the highest first, in the order of `path`: the path cut where it goes on to what is asked less.

    No stage requires anything of a later one, since what a unit requires is of as much use as the unit.
    """
    use = uses(path)
    return {level: [unit for unit in path if use[unit.id] == level] for level in sorted(set(use.values()), reverse=True)}


def by_track(path: Iterable[Unit]) -> dict[str, list[Unit]]:
    """Track -> its units; tracks and units in the order in which they come on `path`."""
    tracks: dict[str, list[Unit]] = {}
    for unit in path:
        tracks.setdefault(unit.track, []).append(unit)
    return tracks


def _requirements(by_id: dict[str, Unit]) -> dict[str, list[str]]:
    """Id -> what the unit requires of these units; in a part of the course, the rest counts as known."""
    return {unit.id: [required for required in unit.requires if required in by_id] for unit in by_id.values()}

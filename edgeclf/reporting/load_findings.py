"""What a load test found: how much is answered in time, what limits it, what would move it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgeclf.measurement.workloads.load_record import (
    STAGES,
    WORK,
    closed_steps,
    good_share,
    open_steps,
    why_beyond,
)
from edgeclf.reporting import text
from edgeclf.system.words import counted

Record = Mapping[str, Any]
Step = Mapping[str, Any]

_SATURATED = 0.85  # of the CPUs: what is left cannot be had by a few threads
_DISTURBED = 0.2  # of the CPUs, used by others: less is what a system does anyway
_HALF = 0.5
_HIDDEN = 1.5  # times the closed loop's p90, from which on it hides something
_OVERLOAD = 1.3  # times what is answered in time: less says little of how a server refuses
_HOLDS = 0.9  # of the best goodput, under overload
_PROMPT_MS = 10.0  # in which a refusal should come

_ADVICE = {
    "decode": "send smaller pictures: a photo need not be larger than twice the model's input, and "
    "a client that shrinks it leaves little to decode",
    "preprocess": "send pictures that are no larger than twice the model's input, so that resizing "
    "reads less",
    "inference": "an int8 file ('edgeclf convert'), a smaller student ('edgeclf distill'), or "
    "another runtime or number of threads ('edgeclf autotune')",
    "overhead": "send several pictures in one request, over connections that are kept open",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was measured.

    Attributes:
        topic: ``capacity``, ``bottleneck``, ``overload``, ``waiting`` or ``generator``.
        title: In a few words.
        found: What was measured, in sentences.
        advice: What a person should do, in sentences; empty where there is nothing to be done.
        warns: Whether other figures are in doubt, or something does not work.
    """

    topic: str
    title: str
    found: str
    advice: str = ""
    warns: bool = False


def findings(record: Record) -> list[Finding]:
    """What a load test found, the most important first.

    Args:
        record: Of the schema ``edgeclf.load/1``.
    """
    return [
        *_capacity(record), *_bottleneck(record), *_overload(record), *_waiting(record),
        *_generator(record),
    ]  # fmt: skip


def name_of(step: Step) -> str:
    """A step in words."""
    if step["loop"] == "open":
        return f"{text.digits(step['rate_per_s'])} a second"
    return counted(step["clients"], "client")


def pressed_step(record: Record) -> Step:
    """The first that lies beyond the knee; where none does, the hardest."""
    steps = open_steps(record["steps"])
    beyond = (step for step in steps if why_beyond(step, record["deadline_ms"]))
    return next(beyond, steps[-1] if steps else record["steps"][-1])


def held_step(record: Record) -> Step | None:
    """The hardest of the open loop below those that lie beyond the knee; None if all do."""
    held = None
    for step in open_steps(record["steps"]):
        if why_beyond(step, record["deadline_ms"]):
            break
        held = step
    return held


def calm_step(record: Record) -> Step | None:
    """The one with the least load that says where its time goes; None if none does."""
    steps = (*open_steps(record["steps"]), *closed_steps(record["steps"]))
    return next((step for step in steps if step["stages_ms"]), None)


def costs_ms(step: Step) -> dict[str, float]:
    """What one request costs the server: the work on its picture, and the CPU time beside it."""
    costs = {name: float(step["stages_ms"][name]) for name in WORK}
    if step["server"]:
        costs["overhead"] = max(0.0, step["server"]["cpu_ms_per_request"] - sum(costs.values()))
    return costs


def _capacity(record: Record) -> Iterator[Finding]:
    deadline = text.duration(record["deadline_ms"])
    for step in closed_steps(record["steps"]):
        latency = step["latency_ms"] or {}
        yield Finding(
            "capacity", "Clients that wait",
            f"{counted(step['clients'], 'client')}, each of which sends again once it is "
            f"answered, got {text.digits(step['accepted_per_s'])} answers a second, half of them "
            f"within {text.duration(latency.get('p50'))}.",
        )  # fmt: skip
    held, knee = held_step(record), record["knee"]
    if held is not None:
        p99 = held["latency_ms"]["p99"]
        tail = f", p99 {text.duration(p99)}" if p99 is not None else ""
        found = (
            f"{name_of(held)} were answered: {text.percent(good_share(held))} within {deadline}, "
            f"p50 {text.duration(held['latency_ms']['p50'])}{tail}."
        )
        if knee and knee["beyond_per_s"] is not None:
            found += f" Of {text.digits(knee['beyond_per_s'])} a second, {knee['why']}."
        elif knee:
            found += " The knee was not reached."
        yield Finding("capacity", "The knee" if knee else "What was answered in time", found)
    elif open_steps(record["steps"]):
        step = open_steps(record["steps"])[0]
        yield Finding(
            "capacity", "Less is answered in time than was offered",
            f"Already of {name_of(step)}, {why_beyond(step, record['deadline_ms'])}.",
            "Begin with a lower rate: --ramp FROM:TO.", warns=True,
        )  # fmt: skip


def _bottleneck(record: Record) -> Iterator[Finding]:
    pressed, calm = pressed_step(record), calm_step(record)
    if calm is None or not pressed["stages_ms"]:
        yield Finding(
            "bottleneck", "Where the time goes is not known",
            "The answers hold no timing of the server's stages, so that only the whole is known.",
            "An edgeclf service tells it; of another server, look at its own figures.",
        )  # fmt: skip
        return
    stages = pressed["stages_ms"]
    total = sum(stages.values())
    if stages["queue"] > _HALF * total:
        yield _queue(record, pressed, calm)
        return
    largest = max(STAGES, key=lambda name: stages[name])
    found = (
        f"At {name_of(pressed)} a request takes {text.duration(total)} on average, most of it in "
        f"{largest}: {text.duration(stages[largest])}. It waits {text.duration(stages['queue'])} "
        "for a worker, so that nothing is exhausted yet."
    )
    if largest in WORK:
        yield Finding("bottleneck", f"{largest.capitalize()} takes most of the time", found,
                      _gain(costs_ms(calm), largest))  # fmt: skip
    elif largest == "network":
        yield Finding(
            "bottleneck", "The way to the server takes most of the time", found,
            f"Pictures have {text.size(record['images']['mean_bytes'])} on average: send smaller "
            "ones, keep connections open, and put the service nearer to those who ask.",
        )  # fmt: skip
    elif largest == "service":
        yield Finding(
            "bottleneck", "The server around the model takes most of the time", found,
            _gain(costs_ms(calm), "overhead") if calm["server"] else
            f"What helps: {_ADVICE['overhead']}.",
        )  # fmt: skip
    else:
        yield Finding(
            "bottleneck", "Requests wait before they are sent", found,
            "Allow more --connections, or load from another machine.", warns=True,
        )  # fmt: skip


def _queue(record: Record, pressed: Step, calm: Step) -> Finding:
    stages = pressed["stages_ms"]
    work = sum(stages[name] for name in WORK)
    found = (
        f"At {name_of(pressed)} a picture waits {text.duration(stages['queue'])} for a worker, "
        f"which then has it for {text.duration(work)}."
    )
    costs = costs_ms(calm)
    largest = max(costs, key=lambda name: costs[name])
    server, cpus = pressed["server"], record["environment"]["cpus_available"]
    if server is None or not record["is_local"]:
        return Finding(
            "bottleneck", "Workers are the bottleneck", found,
            "Look whether the server's CPUs are busy. If they are not, give it more --workers; if "
            f"they are, more replicas. {_gain(costs, largest)}",
        )  # fmt: skip
    used, own = server["cpus_used"], pressed["generator"]["cpu_share"]
    found += (
        f" The server keeps {text.digits(used)} of {counted(cpus, 'CPU')} busy, this test "
        f"{text.digits(own)}, and other processes {text.digits(_others(pressed))}."
    )
    if _others(pressed) > used and used + own + _others(pressed) >= _SATURATED * cpus:
        return Finding(
            "bottleneck", "Other processes have the CPUs", found,
            "Give the service CPUs of its own, and measure again: this says little of the service.",
            warns=True,
        )  # fmt: skip
    if used + own + _others(pressed) >= _SATURATED * cpus:
        each = 1e3 / server["cpu_ms_per_request"] if server["cpu_ms_per_request"] else 0.0
        return Finding(
            "bottleneck", "The CPUs are the bottleneck", found,
            f"More replicas on other CPUs: each CPU adds about {text.digits(each)} requests a "
            f"second. {_gain(costs, largest)}",
        )  # fmt: skip
    return Finding(
        "bottleneck", "The workers are the bottleneck, and CPUs stand idle", found,
        f"Give the service more --workers, up to one a CPU. {_gain(costs, largest)}",
    )  # fmt: skip


def _others(step: Step) -> float:
    """CPUs of this machine that neither the server here nor the test had."""
    busy, server = step["machine_cpus_busy"], step["server"]
    if busy is None or server is None:
        return 0.0
    return round(max(0.0, float(busy - server["cpus_used"] - step["generator"]["cpu_share"])), 3)


def _gain(costs: Mapping[str, float], largest: str) -> str:
    """What is the most that one stage's option could bring."""
    whole = sum(costs.values())
    rest = whole - costs[largest]
    share = text.percent(costs[largest] / whole) if whole else text.DASH
    most = f"{text.ratio(whole / rest)} as many" if rest > 0.01 * whole else "many times as many"
    return (
        f"Of what a request costs, {share} is {_name(largest)} ({text.digits(costs[largest])} of "
        f"{text.digits(whole)} ms): {_ADVICE[largest]}. Without any of it, the same CPUs would "
        f"answer at most {most}."
    )


def _name(cost: str) -> str:
    return "the server around the model" if cost == "overhead" else cost


def _overload(record: Record) -> Iterator[Finding]:
    steps = open_steps(record["steps"])
    if not steps or not why_beyond(steps[-1], record["deadline_ms"]):
        return
    last, held = steps[-1], held_step(record)
    if held is not None and last["rate_per_s"] < _OVERLOAD * held["rate_per_s"]:
        return
    best = max(step["goodput_per_s"] for step in steps)
    kept = last["goodput_per_s"] / best if best else 0.0
    found = (
        f"Of {name_of(last)}, {text.digits(last['goodput_per_s'])} a second were still answered "
        f"in time, {text.percent(kept)} of the best; "
        f"{text.percent(last['refused'] / last['offered'])} were refused"
    )
    prompt = True
    if last["refusal_ms"]:
        prompt = last["refusal_ms"]["p50"] <= _PROMPT_MS
        found += f", half of them within {text.duration(last['refusal_ms']['p50'])}"
    found += f", {counted(last['late'], 'answer')} came late, and {last['failed']:,} failed."
    if kept >= _HOLDS and prompt and not last["failed"]:
        yield Finding("overload", "Overload is refused, and the rest is answered", found)
        return
    advice = (
        "Make the queue shorter (--queue), so that a picture that is let in can still be answered "
        "in time; what does not fit is refused at once."
        if last["late"] > last["refused"] or kept < _HOLDS
        else "Refusals should come at once: see whether the server's own CPU is exhausted."
    )
    yield Finding("overload", "Overload costs those that are let in", found, advice, warns=True)


def _waiting(record: Record) -> Iterator[Finding]:
    held, closed = held_step(record), closed_steps(record["steps"])
    if held is None or not closed:
        return
    step = closed[-1]
    first, second = (each["latency_ms"] and each["latency_ms"]["p90"] for each in (held, step))
    if first is None or second is None:
        return
    found = (
        f"Nine of ten answers came within {text.duration(first)} at {name_of(held)} that did not "
        f"wait for each other, and within {text.duration(second)} with {name_of(step)} at "
        f"{text.digits(step['accepted_per_s'])} a second."
    )
    more = (
        " Clients that wait send nothing while the server is slow, and so do not see it."
        if first > _HIDDEN * second
        else ""
    )
    yield Finding("waiting", "With and without waiting clients", found + more)


def _generator(record: Record) -> Iterator[Finding]:
    late = [step for step in record["steps"] if step["generator"]["saturated"]]
    if late:
        worst = max(late, key=lambda step: step["generator"]["mean_late_ms"])
        own = worst["generator"]
        yield Finding(
            "generator", "The test was late itself",
            f"{text.part(len(late), len(record['steps']), 'step')} "
            f"{'is' if len(late) == 1 else 'are'} affected: at {name_of(worst)}, requests went "
            f"out {text.duration(own['mean_late_ms'])} late on average, "
            f"{text.duration(own['most_late_ms'])} at most, and the test used "
            f"{text.percent(own['cpu_share'])} of a CPU.",
            "Latencies are too high by as much. Load from another machine, or on one where "
            "nothing else runs.", warns=True,
        )  # fmt: skip
    if not record["is_local"]:
        return
    cpus = record["environment"]["cpus_available"]
    disturbed = max(record["steps"], key=_others)
    if _others(disturbed) > _DISTURBED * cpus:
        yield Finding(
            "generator", "Other processes ran meanwhile",
            f"At {name_of(disturbed)} they used {text.digits(_others(disturbed))} of "
            f"{counted(cpus, 'CPU')}, so that these are figures of a busy machine.",
            "Measure again where nothing else runs.", warns=True,
        )  # fmt: skip

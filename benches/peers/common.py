"""What the peers share: the columns that they print, the clock, and how they are asked.

A peer prints one CSV row for each thing that it measured, with the columns of `benches/record.py`.
It measures the cases given on the command line, all of them where none is given, or, with `-`,
one for each line of stdin as it comes: so several peers can take turns at every case.
"""

import statistics
import sys
import time

COLUMNS = "what,case,form,threads,peer,unit,min,median,max,peak"

# X is (m, k), W is (k, n): batches of last positions, full batches, the Collatz models' rows.
ROWS = (512, 1536, 2822, 4096, 4704)
FACTORS = ((128, 128), (128, 384), (128, 512), (512, 128), (128, 97), (128, 120),
           (256, 256), (256, 1024), (1024, 256))
SHAPES = [f"{m},{k},{n}" for m in ROWS for k, n in FACTORS]


def row(what, case, form, threads, peer, unit, values):
    """Prints one row; values are the measurements."""
    low, middle, high = min(values), statistics.median(values), max(values)
    print(f'{what},"{case}",{form},{threads},{peer},{unit},{low:.5g},{middle:.5g},{high:.5g},',
          flush=True)


def serve(cases, everything, measure):
    """Calls measure(case) for what was asked; an empty row ends the answer to a line of stdin."""
    print(COLUMNS, flush=True)
    if cases != ["-"]:
        for case in cases or everything:
            measure(case)
        return
    for line in sys.stdin:
        measure(line.strip())
        print(flush=True)


def blocks(once, blocks=9, seconds=0.002):
    """Seconds of one call, from blocks of calls that last about 2 ms each."""
    once()
    begun = time.perf_counter()
    once()
    calls = max(1, round(seconds / max(time.perf_counter() - begun, 1e-9)))
    times = []
    for _ in range(blocks):
        begun = time.perf_counter()
        for _ in range(calls):
            once()
        times.append((time.perf_counter() - begun) / calls)
    return times


def steps(once, warm=3, seconds=1.0, least=5):
    """Milliseconds of single calls, after some that are not counted."""
    for _ in range(warm):
        once()
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < least:
        begun = time.perf_counter()
        once()
        times.append(1e3 * (time.perf_counter() - begun))
    return times

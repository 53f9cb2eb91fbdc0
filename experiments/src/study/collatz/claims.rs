//! The claims of arXiv:2604.13082 with their rules, and the map that comes before them. A rule was written down,
//! in words and as a program, before the runs that it grades were looked at.
//!
//! What all rules share: the unit is the seed; an interval is the 95 % bootstrap interval over seeds. Of three seeds it
//! goes from the least to the largest, so that "above 0 with its interval" says "in all three", which chance does once in
//! eight; of one it is not there. C1 to C6, C8, C14 and C16 have three seeds, C7, C9, C10, C12 and C13 two, C11 and C15
//! one. A claim is *reproduced* where every part of its rule holds, *not reproduced* where none does, else *partly*. Accuracy is that of greedy decoding, the whole answer right, on
//! 5,000 numbers that are never trained on. "Open" is the regime without a plateau, online data; "plateau" the other.

use super::{decoder, encoder, plateau, tasks};
use crate::study::grade::{Claim, Verdict};

/// The verdict on a rule's parts, by name, and which of them do not hold.
pub(super) fn parts(parts: &[(String, bool)]) -> (Verdict, String) {
    let held: Vec<bool> = parts.iter().map(|(_, held)| *held).collect();
    let missing: Vec<&str> =
        parts.iter().filter(|(_, held)| !held).map(|(name, _)| name.as_str()).collect();
    let why = match (held.len() - missing.len(), held.len()) {
        (k, n) if k == n => format!("All {n} parts hold."),
        (0, _) => format!("No part holds: {}.", missing.join("; ")),
        (k, n) => format!("{k} of {n} parts hold. Not: {}.", missing.join("; ")),
    };
    (verdict(&held), why)
}

/// All parts hold, none does, or some.
pub(super) fn verdict(parts: &[bool]) -> Verdict {
    match parts.iter().filter(|held| **held).count() {
        0 => Verdict::NotReproduced,
        held if held == parts.len() => Verdict::Reproduced,
        _ => Verdict::Partly,
    }
}

/// Every claim, and the map.
pub const CLAIMS: [Claim; 17] = [
    Claim {
        id: "C0",
        claim: "The long delay is there whatever the paper leaves open: what is trained on, norms, initialisation, \
                learning rate, depth.",
        paper: "not stated",
        rule: "Each cell of the map is one run. A plateau: the best test accuracy so far stands between .10 and .90 and \
               rises by at most .05 over at least 1,000 steps and a quarter of the time to .80; a jump: it then rises by \
               .20 or more within half the plateau's length, and comes to .90 in the end. (Amended before any joint run: \
               the longest stretch had to end so, and to last a quarter of the time to .90, which misses a curve in stairs \
               as the paper's is.) Reproduced: every cell has both. Not reproduced: none. Else partly.",
        grade: plateau::map,
    },
    Claim {
        id: "C1",
        claim: "A long plateau, then abrupt generalisation.",
        paper: "base 8, 6+6 layers: .38 at step 2,000, .43 at 10,000, .53 at 42,000, .68 at 44,000, .76 at 66,000, .86 at \
                68,000, .90 at 100,000, .973 at 500,000 (even .997, odd .949)",
        rule: "In a regime it holds where each of at least three joint runs has a plateau and a jump (C0). Reproduced: in \
               both regimes. Partly: in one. Not reproduced: in neither.",
        grade: plateau::long_plateau,
    },
    Claim {
        id: "C2",
        claim: "The encoder knows parity and residues early.",
        paper: "linear probe, parity ≥ .997 by step 2,000; n mod 4, 8, 16 near the ceiling; fourth bit .676 at first",
        rule: "At the first probes after the start, in either regime: parity is read with at least .99 in all seeds; while \
               test accuracy is below .90 in all seeds; n mod 16 better than off the untrained encoder (step 0; paired, \
               interval above 0); and better than off the input's embedding (the same).",
        grade: encoder::knows,
    },
    Claim {
        id: "C3",
        claim: "A trained encoder speeds grokking up.",
        paper: "2.75 times: .70 at 24,000 instead of 66,000 steps, one seed; final .924 instead of .861 (three seeds: \
                .924, .544, .936 with it, .859, .944, .964 from scratch)",
        rule: "Steps to test accuracy .50, .70 and .90, joint run over run with a trained encoder and another decoder, \
               paired by seed: above 1 with its interval at each threshold, in either regime. (Amended when the open runs \
               had been seen: the decoder was drawn as the joint run's, so that the encoder met the one with which it had \
               been trained, at its first weights; that is the control now.)",
        grade: decoder::encoder,
    },
    Claim {
        id: "C4",
        claim: "A trained decoder hurts.",
        paper: "final accuracy .267, .427, .312 with it",
        rule: "Final accuracy less that of the joint run of the seed: below −.1 with its interval, in either regime. The \
               encoder is another than the one with which the decoder was trained (amended when runs had been seen: it was \
               that one, at its first weights). The controls are that one, and an untrained decoder that does not learn.",
        grade: decoder::decoder,
    },
    Claim {
        id: "C5",
        claim: "A frozen, converged encoder under a retrained decoder removes the plateau.",
        paper: ".976 instead of .861; five fresh decoders .976, .986, .983, .985, .959",
        rule: "No run in the regime with a plateau has one any more, and all come to .90; and steps to .90, joint run over \
               run, are above 1 with their interval for a decoder rewound to an early step, for one rewound to its first \
               weights, and for another, in either regime.",
        grade: decoder::retrained,
    },
    Claim {
        id: "C6",
        claim: "Early encoders suffice for most of it.",
        paper: "encoders frozen at steps 2,000, 10,000, 20,000, 50,000 give fresh decoders .65 to .80",
        rule: "The earliest of four: final accuracy at least .65, where that on an untrained frozen encoder is less; below \
               the joint run of the seed (interval below 0); above the untrained one (interval above 0); in either regime. \
               (Amended when the open runs had been seen: an untrained encoder passed the first part.)",
        grade: decoder::early,
    },
    Claim {
        id: "C7",
        claim: "The base is an inductive bias.",
        paper: "exact match at step 500,000 by base: 2 .000, 3 .458, 4 .992, 6 .997, 8 .973, 9 .921, 10 .990, 12 .994, 16 \
                .936, 18 .996, 24 .998, 27 .924, 32 .963, 36 .971, 48 .937",
        rule: "Two seeds a base at an equal budget: the means differ by at least .1 between bases; and their rank \
               correlation with the paper's row is at least .7 (its interval is over bases drawn again).",
        grade: tasks::base,
    },
    Claim {
        id: "C8",
        claim: "Binary collapses and never recovers.",
        paper: "peaks at .56 at step 16,000, then 0; participation ratio 5.2 to 1.0 (six other runs ended at .117 to .520)",
        rule: "A seed collapses where its accuracy was .30 and ends below .10. Reproduced: all of at least three do. Partly: \
               some. Not reproduced: none.",
        grade: tasks::binary,
    },
    Claim {
        id: "C9",
        claim: "A base-24 encoder helps base 2.",
        paper: ".751 ± .038 instead of .365 ± .142 over six seeds; odd n .524 instead of .119",
        rule: "Final accuracy over scratch at an equal budget: above 0 with its interval. How the donor reads base 2 is not \
               stated, so in two readings: (1) n in base 2, the donor's blocks behind an embedding of its own; (2) n in \
               base 24, the whole encoder, the answer in base 2. Reproduced: in both; partly: in one.",
        grade: tasks::cross_base,
    },
    Claim {
        id: "C10",
        claim: "Exposure: carries are the hard part.",
        paper: "carry-stratified samples: odd .915, even .269; short carries only: odd .383, even .999",
        rule: "With short carries only, odd n end more than .2 below uniform samples (with its interval), and even n at .95 \
               or more; with carry-stratified samples odd n end more than .2 above even n.",
        grade: tasks::exposure,
    },
    Claim {
        id: "C11",
        claim: "The gap holds across sizes.",
        paper: "d 128, 256, 512 × 2, 4, 6 layers: .968 .858 .863, .959 .853 .918, .938 .936 .967",
        rule: "At an equal budget in the regime with a plateau, a little beyond its first renewal: all nine sizes end within \
               .15 of each other; and in all the plateau ends in a jump (C0), whether or not they come to .90. (Amended \
               before any of its runs: they were to be made in the open regime, where nothing waits.)",
        grade: tasks::sizes,
    },
    Claim {
        id: "C12",
        claim: "Other maps behave alike, and bases that k divides are best.",
        paper: "k ∈ {5, 7, −1}, T twice: bases divisible by k best",
        rule: "For k = 3, 5 and 7: accuracy on odd n is higher by more than .005 in bases that k divides than in others \
               (bases 2 and 3 left out); without an interval.",
        grade: tasks::maps,
    },
    Claim {
        id: "C13",
        claim: "Encoders do not transfer between Collatz and GCD.",
        paper: "GCD .632 with a Collatz encoder instead of .726; Collatz .095 with a GCD encoder",
        rule: "With the other task's encoder the final accuracy is more than .05 below scratch; either way.",
        grade: tasks::transfer,
    },
    Claim {
        id: "C14",
        claim: "Erasing parity hurts early, not late.",
        paper: "8.2 points at step 18,000, about 0 at convergence; erasing the magnitude leaves .141 at 492,000",
        rule: "Where nearest to half of the answers are right (.30 to .70), erasing the probe's direction for parity costs \
               more than .02 over random directions (with its interval); at the end no more than .02, either way; erasing \
               the size of n costs more than .2 over random directions at the end; in every regime with three such runs. \
               (Amended when runs had been seen: it was the first reading with half of them right or more, which was at .98 \
               in the open regime; and random directions were uniform on the sphere, along which states hardly vary: now \
               they are drawn as the states vary.)",
        grade: encoder::erasure,
    },
    Claim {
        id: "C15",
        claim: "A decoder alone fails.",
        paper: "12 layers: .000 in five bases",
        rule: "The best test accuracy of two and of twelve layers stays below .10.",
        grade: tasks::alone,
    },
    Claim {
        id: "C16",
        claim: "One cross-attention head reads the last digit.",
        paper: "BOS to the last digit: a share of up to .97 in 3 of 4 seeds",
        rule: "At the end the largest share over heads is at least .90 in three of four joint runs (reproduced), in some \
               (partly), in none.",
        grade: encoder::last_digit,
    },
];

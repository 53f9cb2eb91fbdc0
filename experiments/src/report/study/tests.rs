//! The page of a made-up study: sixteen claims, 22 groups, every kind of picture.

use super::*;
use crate::record::Record;
use crate::report::figure_svg;
use crate::seed::Seed;
use crate::study::grade::{Line, Mark, Series};
use rand::{Rng, RngExt};

const EVIL: &str = "</script><script>alert('1')</script> & \"q\" | *b* <!-- -->";

fn normal(rng: &mut impl Rng) -> f64 {
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

/// Accuracy and entropy of a made-up run that groks at `t_grok`, 300 evaluations each.
fn curves(seed: u64, t_grok: f64) -> [Vec<[f64; 2]>; 3] {
    let mut rng = Seed(seed).stream("made up", t_grok as u64);
    let mut noise = move |size: f64| size * normal(&mut rng);
    let steps: Vec<f64> = (0..300).map(|i| 100.0 * f64::from(i)).collect();
    let jump = |step: f64, at: f64, width: f64| 1.0 / (1.0 + (-(step - at) / width).exp());
    let of = |value: &mut dyn FnMut(f64) -> f64| steps.iter().map(|&s| [s, value(s)]).collect();
    [
        of(&mut |s| (jump(s, t_grok - 900.0, 320.0) + noise(0.008)).clamp(0.0, 1.0)),
        of(&mut |s| 0.81 - 0.1 * s / 3e4 - 0.24 * jump(s, t_grok - 1_200.0, 700.0) + noise(0.006)),
        of(&mut |s| 18.0 + 100.0 * (-s / 1_800.0).exp() + noise(0.3)),
    ]
}

fn series(name: &str, seed: u64, mark: Mark, points: Vec<[f64; 2]>) -> Series {
    let ends = points.iter().map(|[_, y]| [0.8 * y, 1.25 * y]).collect();
    Series { name: name.into(), mark, points, ends, label: format!("{name}, seed {seed}") }
}

fn figure(
    title: &str,
    axes: [&'static str; 2],
    series: Vec<Series>,
    lines: &[(&str, f64, bool)],
) -> Figure {
    let line =
        |&(label, at, horizontal): &(&str, f64, bool)| Line { label: label.into(), at, horizontal };
    let lines = lines.iter().map(line).collect();
    Figure { title: title.into(), axes, log: [false; 2], places: vec![], series, lines }
}

const GROUPS: [(&str, &str, u64, f64); 22] = [
    ("add", "none", 10, 7_200.0),
    ("no-decay", "weight_decay_0", 3, f64::INFINITY),
    ("little-data", "little_data", 3, f64::INFINITY),
    ("shuffled", "shuffled_labels", 3, f64::INFINITY),
    ("mixing-0.3", "mixing", 10, 12_800.0),
    ("sham-0.3", "sham", 10, 11_900.0),
    ("add-more", "none", 20, 7_300.0),
    ("norm-matched", "mixing+norm", 30, 15_000.0),
    ("mixing-0.1", "mixing", 10, 8_300.0),
    ("sham-0.1", "sham", 10, 8_200.0),
    ("mixing-0.5", "mixing", 10, 20_800.0),
    ("sham-0.5", "sham", 10, 19_000.0),
    ("twin", "none", 10, 9_000.0),
    ("twin-mixing", "mixing", 10, 14_000.0),
    ("twin-matched", "mixing+norm", 10, 15_500.0),
    ("sub", "none", 5, 11_000.0),
    ("mul", "none", 5, 10_400.0),
    ("s5-10", "none", 10, 4_400.0),
    ("s5-40", "none", 3, 1_400.0),
    ("init-nanda", "none", 3, 5_200.0),
    ("mlp-p41", "none", 3, f64::INFINITY),
    ("mlp", "none", 3, 3_000.0),
];

fn t_grok(group: usize, seed: u64) -> f64 {
    let mut rng = Seed(seed).stream("t_grok", group as u64);
    (GROUPS[group].3 * (1.0 + 0.12 * normal(&mut rng)) / 100.0).round() * 100.0
}

fn rows() -> Vec<Row> {
    let row = |(group, &(name, intervention, seeds, _)): (usize, &(&str, &str, u64, f64))| {
        let of = move |seed: u64| {
            let t = t_grok(group, seed);
            let grok = t.is_finite().then_some(t as u64);
            Row {
                hash: format!("{:012x}", 0x5eed_1234_0000_u64 + 7_919 * group as u64),
                group: name.into(),
                task: "modular".into(),
                op: "add".into(),
                seed,
                train_fraction: 0.2,
                intervention: intervention.into(),
                alpha: name.split_once("-0.").map(|(_, a)| format!("0.{a}").parse().unwrap()),
                steps: grok.map_or(30_000, |t| t + 10_000),
                t_memorise: Some(300 + 100 * (seed % 3)),
                t_collapse: grok.map(|t| t - 1_100),
                t_test_10: grok,
                t_test_50: grok,
                t_test_90: grok,
                t_grok: grok,
                entropy_init: Some(0.853),
                entropy_at_grok: grok.map(|_| 0.547),
                entropy_final: Some(0.481),
                norm_init: Some(117.2),
                norm_final: Some(18.4),
                ..Row::default()
            }
        };
        (0..seeds).map(of).collect::<Vec<Row>>()
    };
    GROUPS.iter().enumerate().flat_map(row).collect()
}

/// The curve `which` of every run of some groups.
fn drawn(groups: &[usize], which: usize) -> Vec<Series> {
    let of = |&group: &usize| {
        let (name, _, seeds, _) = GROUPS[group];
        (0..seeds).map(move |seed| {
            let points = curves(seed, t_grok(group, seed).min(9e9))[which].clone();
            series(name, seed, Mark::Line, points)
        })
    };
    groups.iter().flat_map(of).collect()
}

/// Sixteen claims with pictures of every kind.
fn claims() -> Vec<Graded> {
    let text: [(&str, &str, &str, &str, &str, &str, Verdict); 16] = [
        (
            "E1",
            "Training has two phases: the norm expands, then the entropy collapses.",
            "norm rises in phase I, then plateaus while H̃ falls (no numbers)",
            "‖θ‖ falls from 117 to 71 in phase I in 10 of 10 [0.69, 1.00]; from the small initialisation it rises in 3 of 3 [0.29, 1.00]",
            "the same without weight decay",
            "The order depends on the initialisation: the norm expands only from the small one.",
            Verdict::Partly,
        ),
        (
            "E2",
            "Grokking happens at a stable threshold of H̃.",
            "0.609, CI [0.595, 0.624], n = 10; add 0.605, mul 0.589, sub 0.589",
            "0.547 [0.531, 0.563]; with the threshold of the other seeds H̃ crosses it 210 [150, 280] steps before T_grok",
            "shuffled labels: crosses in 3 of 3",
            "The threshold is stable over seeds and another one than the paper's, and a control crosses it, too.",
            Verdict::Partly,
        ),
        (
            "E3",
            "The collapse of entropy comes before grokking.",
            "10 of 10, mean lead 1,020 [890, 1,140]",
            "10 of 10 [0.69, 1.00], mean lead 1,110 [980, 1,230]; against test accuracy 0.5: −240 [−310, −170]",
            "false alarms in 2 of 3 runs with shuffled labels",
            "It leads T_grok as printed, and lags the moment at which half of the test pairs are right.",
            Verdict::Reproduced,
        ),
        (
            "E4",
            "T_grok is about 14,000 steps.",
            "14,360 [12,140, 17,100]; add 14,040, mul 21,560, sub 21,560",
            "add 7,210 [6,730, 7,660], mul 10,400, sub 11,000",
            "",
            "Half of the paper's time; the ratio between operations agrees.",
            Verdict::NotReproduced,
        ),
        (
            "E5",
            "Preventing the collapse delays grokking.",
            "+5,020 steps, Mann–Whitney p 0.044, d 0.70, 10 of 10 still grok",
            "+5,600 steps [4,900, 6,300], p 0.0002, d 2.9",
            "sham of the same size: +4,700 [4,000, 5,400]",
            "Noise of the same size delays just as long.",
            Verdict::Partly,
        ),
        (
            "E6",
            "It is not the norm: with the norm held to the baseline's, mixing still delays grokking.",
            "+8,304 steps, p 5e-5, d 1.55, 28 of 30 grok by 50,000",
            "+7,800 steps [7,100, 8,500], p < 0.0001; 30 of 30 [0.88, 1.00]",
            "twin without LayerNorm: +6,500 [5,600, 7,300]",
            "It holds here and on the twin whose norm LayerNorm does not undo.",
            Verdict::Reproduced,
        ),
        (
            "E7",
            "A power law forecasts the time that remains.",
            "C₁ 2.45e5, γ 1.65, R² 0.543; leave-one-out error 3.2 %",
            "R² 0.31 [0.22, 0.40]; error 41 % at half of the time",
            "always the mean of other seeds: 12 %",
            "Nobody needs it: the mean of the other seeds forecasts better at every distance.",
            Verdict::NotReproduced,
        ),
        (
            "E8",
            "The gap of H̃ is the best predictor of the time that remains.",
            "R² 0.507; no other above 0.38",
            "R² 0.29; test loss 0.71",
            "",
            "Test loss predicts better.",
            Verdict::NotReproduced,
        ),
        (
            "E9",
            "S5 behaves alike.",
            "10 of 10 grok at 10 % of the data, T_grok 4,380 [3,820, 5,040], H̃* 0.655; collapse first in 5 of 10",
            "10 of 10 [0.69, 1.00], 4,420 [4,100, 4,730]",
            "40 %: T_grok 1,400",
            "Every figure agrees.",
            Verdict::Reproduced,
        ),
        (
            "E10",
            "MLPs collapse without grokking.",
            "p = 41: H̃ 0.76 → 0.15, test ≈ 0 for 80,000 steps",
            "H̃ 0.78 → 0.22, test accuracy 0.03",
            "an MLP known to grok collapses and groks in 3 of 3",
            "Collapse without grokking is seen; it is not a property of MLPs.",
            Verdict::Partly,
        ),
        (
            "E11",
            "The collapse is coupled to Fourier alignment.",
            "per-seed correlation −0.82 (−0.86 … −0.76), 5 seeds",
            "−0.88 [−0.91, −0.84]",
            "",
            "As printed, and a little stronger.",
            Verdict::Reproduced,
        ),
        (
            "E12",
            "Entropy does not rebound after grokking.",
            "slope −3.6e-5 per step over ~1,000 steps",
            "−1.2e-7 [−3.1e-7, 0.4e-7] per step over 10,000 steps",
            "",
            "It stays where it is.",
            Verdict::Reproduced,
        ),
        (
            "E13",
            "The norm alone does not explain H̃.",
            "Pearson −0.248 pooled",
            "",
            "",
            "The runs at fixed norm are missing.",
            Verdict::NotTestable,
        ),
        (
            "E14",
            "The probe does not matter.",
            "train v test probe r 0.998, H̃* differs by 0.0076",
            "r 0.9991",
            "",
            "Both probes tell the same.",
            Verdict::Reproduced,
        ),
        (
            "E15",
            "Measuring is cheap.",
            "< 1 % of training time",
            "9.4 % at every step; 0.1 % at every hundredth",
            "",
            "At the paper's spacing it is.",
            Verdict::Reproduced,
        ),
        (
            "E16",
            "Stopping early saves compute.",
            "“86 %” in one place, ≈ 7 % in another",
            "",
            "",
            "No rule of the paper says when to stop.",
            Verdict::NotTestable,
        ),
    ];
    let lead = |group: usize| {
        let points = (0..10).map(|seed| [seed as f64, 900.0 + 60.0 * t_grok(group, seed) / 1e3]);
        points.collect::<Vec<_>>()
    };
    let pictures = |id: &str| match id {
        "E1" => vec![
            figure(
                "Weight norm from two initialisations",
                ["step", "‖θ‖"],
                drawn(&[0, 19], 2),
                &[("end of phase I", 600.0, false)],
            ),
            figure(
                "Norm against entropy",
                ["‖θ‖", "H̃"],
                drawn(&[0], 2)
                    .into_iter()
                    .zip(drawn(&[0], 1))
                    .map(|(mut a, b)| {
                        for (p, q) in a.points.iter_mut().zip(&b.points) {
                            *p = [p[1], q[1]];
                        }
                        a
                    })
                    .collect(),
                &[],
            ),
        ],
        "E2" => vec![figure(
            "H̃ of ten seeds, addition, centred, train probe",
            ["step", "H̃"],
            drawn(&[0], 1),
            &[
                ("the paper's 0.609", 0.609, true),
                ("ours 0.547", 0.547, true),
                ("leave one out 0.549", 0.549, true),
            ],
        )],
        "E3" => vec![
            figure(
                "Accuracy and entropy",
                ["step", "test accuracy, H̃"],
                [
                    drawn(&[0], 0),
                    drawn(&[0], 1).into_iter().map(|s| Series { name: "H̃".into(), ..s }).collect(),
                ]
                .concat(),
                &[
                    ("mean T_collapse 6,100", 6_100.0, false),
                    ("mean T_grok 7,200", 7_200.0, false),
                    ("test accuracy 0.5, mean over ten seeds", 6_300.0, false),
                ],
            ),
            figure(
                "Lead of the collapse, seed by seed",
                ["seed", "steps"],
                vec![
                    series("against test 0.99", 0, Mark::Interval, lead(0)),
                    series(
                        "against test 0.50",
                        0,
                        Mark::Dots,
                        lead(16).into_iter().map(|[x, y]| [x, y - 1_700.0]).collect(),
                    ),
                ],
                &[("the paper's mean lead, 1,020", 1_020.0, true), ("none", 0.0, true)],
            ),
        ],
        "E5" => {
            let alphas = [0.0, 0.1, 0.3, 0.5];
            let of = |name: &str, groups: [usize; 4]| {
                let points = alphas
                    .iter()
                    .zip(groups)
                    .map(|(&a, g)| [a + if name == "sham" { 0.008 } else { 0.0 }, GROUPS[g].3]);
                let mut s = series(name, 0, Mark::Interval, points.collect());
                s.ends = s.points.iter().map(|p| [p[1] - 700.0, p[1] + 800.0]).collect();
                s
            };
            vec![
                figure(
                    "T_grok against the strength of the mixing",
                    ["α", "T_grok (steps)"],
                    vec![of("mixing", [0, 8, 4, 10]), of("sham", [0, 9, 5, 11])],
                    &[],
                ),
                figure("H̃ under each", ["step", "H̃"], drawn(&[0, 4, 5, 8, 9, 10], 1), &[]),
            ]
        }
        "E6" => vec![figure(
            "H̃ with the norm held",
            ["step", "H̃"],
            drawn(&[0, 4, 7], 1),
            &[("T_grok of the baseline", 7_200.0, false)],
        )],
        "E7" => {
            let error = |name: &str, a: f64| {
                series(
                    name,
                    0,
                    Mark::Line,
                    (1..60)
                        .map(|i| {
                            let x = 200.0 * f64::from(i);
                            [x, a * (0.02 + x / 2e4)]
                        })
                        .collect(),
                )
            };
            let mut f = figure(
                "Error against the steps that remain",
                ["steps remaining", "median relative error"],
                vec![
                    error("power law", 1.0),
                    error("always now", 0.8),
                    error("mean of other seeds", 0.3),
                    error("test loss", 0.4),
                    error("train loss", 0.9),
                    error("norm", 0.7),
                ],
                &[("the paper's 3.2 %", 0.032, true)],
            );
            f.log = [true, true];
            vec![f]
        }
        "E8" => {
            let mut rng = Seed(3).stream("scatter", 0);
            let mut cloud = |name: &str, k: f64| {
                series(
                    name,
                    0,
                    Mark::Dots,
                    (0..400)
                        .map(|_| {
                            let x = rng.random::<f64>() * 0.25;
                            [x, 14_000.0 * (x / 0.25).powf(k) + 900.0 * normal(&mut rng)]
                        })
                        .collect(),
                )
            };
            vec![figure(
                "Steps remaining against the gap",
                ["H̃ − H̃*", "steps remaining"],
                vec![cloud("H̃ gap", 1.65), cloud("test loss", 0.8)],
                &[("0", 0.0, true)],
            )]
        }
        "E9" => vec![figure("H̃ of S5", ["step", "H̃"], drawn(&[17, 18], 1), &[])],
        "E10" => vec![figure("H̃ of two MLPs", ["step", "H̃"], drawn(&[20, 21], 1), &[])],
        "E12" => vec![figure(
            "All groups",
            ["step", "H̃"],
            drawn(&[0, 1, 2, 3, 12, 15, 16, 17, 18, 19, 20, 21], 1),
            &[],
        )],
        "E13" => {
            vec![figure("Nothing yet", ["x", "y"], vec![series("a", 0, Mark::Line, vec![])], &[])]
        }
        "E14" => vec![figure(
            "One value",
            ["step", "r"],
            vec![series("add", 0, Mark::Dots, vec![[5.0, 0.9991]])],
            &[],
        )],
        _ => vec![],
    };
    text.map(|(id, claim, paper, measured, controls, why, verdict)| Graded {
        id,
        claim,
        paper,
        measured: measured.into(),
        value: (id == "E14").then_some(0.9991),
        interval: (id == "E14").then_some([0.9987, 0.9994]),
        seeds: if measured.is_empty() { 0 } else { 10 },
        controls: controls.into(),
        verdict,
        why: why.into(),
        rule: "Reproduced if the interval of the mean meets the paper's and the controls show nothing of the kind; partly if one of the two fails; not reproduced otherwise.",
        figures: pictures(id),
        note: String::new(),
    }).into()
}

fn page(graded: &[Graded], rows: &[Row]) -> String {
    html(&Page {
        title: "Study E: does spectral entropy collapse foretell grokking?",
        about: HEADINGS[0].2,
        scale: "laptop",
        made: &[
            ("runs", "plateau study entropy --scale laptop".into()),
            ("page", "plateau report results/entropy".into()),
            ("commit", "c6e2e3f0a1b2c3d4e5f60718293a4b5c6d7e8f90".into()),
        ],
        graded,
        rows,
        folder: &|row| (row.seed == 0).then(|| format!("../../runs/{}/", row.group)),
    })
}

#[test]
fn every_claim_is_in_the_strip_the_table_and_a_section_of_its_own() {
    let (graded, rows) = (claims(), rows());
    let page = page(&graded, &rows);
    for claim in &graded {
        let id = claim.id;
        assert_eq!(page.matches(&format!("href=\"#{id}\"")).count(), 2, "{id}");
        assert_eq!(
            page.matches(&format!("<section class=\"claim\" id=\"{id}\">")).count(),
            1,
            "{id}"
        );
        assert!(page.matches(claim.verdict.name()).count() >= 3, "in words, too");
        for text in [claim.paper, &claim.measured, &claim.why, claim.rule] {
            assert!(page.contains(&escape(text)), "{id}: {text}");
        }
    }
    for sentence in [
        "16 claims, 2 of them without the runs that would decide, graded by 191 runs in 22 groups, at laptop scale. 179 of the runs grokked.",
        "✓ 7 reproduced",
        "✗ 3 not reproduced",
        "All runs (191)",
        "(0.99910 [0.99870, 0.99940], 10\u{a0}seeds)",
    ] {
        assert!(page.contains(sentence), "missing: {sentence}");
    }
    let figures: usize = graded.iter().map(|claim| claim.figures.len()).sum();
    assert_eq!(page.matches("<figure>").count(), figures);
    assert_eq!(page.matches("class=\"plot").count(), figures - 1, "one has nothing to draw");
}

#[test]
fn links_lead_into_the_page_and_to_what_stands_beside_it() {
    let page = page(&claims(), &rows());
    let targets: Vec<&str> =
        page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    for target in &targets {
        match target.strip_prefix('#') {
            Some(id) => assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}"),
            None => assert!(
                ["curves/", "../../runs/", "runs.csv", "verdicts.json"]
                    .iter()
                    .any(|p| target.starts_with(p)),
                "{target}"
            ),
        }
    }
    assert_eq!(targets.iter().filter(|t| t.starts_with("curves/")).count(), 191);
    assert_eq!(targets.iter().filter(|t| t.starts_with("../../runs/")).count(), 22);
}

#[test]
fn the_page_asks_no_network_for_anything_and_carries_no_inline_style() {
    let page = page(&claims(), &rows());
    for outside in ["http:", "https:", "src=", "url(", "@import", "fetch(", "style=\"", " onclick"]
    {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("content=\"default-src 'none';"), "and tells the browser so");
}

#[test]
fn what_the_script_reads_is_json_with_the_series_that_are_drawn() {
    let page = page(&claims(), &rows());
    let mut read = 0;
    for figure in page.split("<figure>").skip(1) {
        let Some((_, json)) = figure.split_once("<script type=\"application/json\">") else {
            continue;
        };
        let json: serde_json::Value =
            serde_json::from_str(json.split("</script>").next().unwrap()).unwrap();
        let (series, names) =
            (json["series"].as_array().unwrap(), json["names"].as_array().unwrap());
        assert_eq!(
            figure.split("</svg>\n<ul").next().unwrap().matches("<g>").count(),
            series.len()
        );
        assert_eq!(
            figure.matches("<li>").count() + figure.matches("<li hidden>").count(),
            names.len()
        );
        for of in series {
            assert!((of[0].as_u64().unwrap() as usize) < names.len());
            assert_eq!(of[2].as_array().unwrap().len() % 2, 0);
        }
        read += 1;
    }
    assert!(read > 10);
}

#[test]
fn text_from_records_and_rules_cannot_become_markup() {
    let (mut graded, mut rows) = (claims(), rows());
    graded.truncate(3);
    for claim in &mut graded {
        (claim.claim, claim.paper, claim.rule) = (EVIL, EVIL, EVIL);
        (claim.measured, claim.controls, claim.why) = (EVIL.into(), EVIL.into(), EVIL.into());
        for figure in &mut claim.figures {
            figure.title = EVIL.into();
            figure.series[0].name = EVIL.into();
            figure.series[0].label = EVIL.into();
            figure.lines.push(Line { label: EVIL.into(), at: 0.5, horizontal: true });
        }
    }
    rows[0] = Row {
        hash: EVIL.into(),
        group: EVIL.into(),
        op: EVIL.into(),
        intervention: EVIL.into(),
        ..rows[0].clone()
    };
    let made = [(EVIL, EVIL.to_owned())];
    let page = html(&Page {
        title: EVIL,
        about: EVIL,
        scale: EVIL,
        made: &made,
        graded: &graded,
        rows: &rows,
        folder: &|_| Some(EVIL.into()),
    });
    assert!(!page.contains("<script>alert") && !page.contains("<!-- -->"));
    let scripts = page.matches("<script").count();
    assert_eq!(scripts, page.matches("</script>").count());
    assert_eq!(scripts, page.matches("<script type=\"application/json\">").count() + 1);
    let table = verdicts_markdown(&graded);
    assert!(!table.contains('<') && table.contains(r"\| \*b\* &lt;!--"), "{table}");
    assert_eq!(table.lines().count(), 2 + graded.len());
}

#[test]
fn a_page_of_sixty_long_series_in_every_figure_stays_below_three_megabytes() {
    let mut graded = claims();
    let long = |seed: u64| {
        let mut rng = Seed(seed).stream("long", 0);
        let points =
            (0..501).map(|i| [100.0 * f64::from(i), 0.5 + 0.1 * normal(&mut rng)]).collect();
        series("add", seed, Mark::Line, points)
    };
    let all: Vec<Series> = (0..60).map(long).collect();
    for claim in &mut graded {
        claim.figures = vec![figure("H̃", ["step", "H̃"], all.clone(), &[]); 2];
    }
    let page = page(&graded, &rows());
    assert!(page.len() < 3_000_000, "{} bytes", page.len());
    graded.truncate(1);
    graded[0].figures.truncate(1);
    assert!(self::page(&graded, &[]).len() > 500_000, "and where there is room all is shown");
}

#[test]
fn a_study_without_claims_or_runs_has_a_page() {
    let page = page(&[], &[]);
    assert!(page.contains("0 claims, graded by 0 runs in 0 groups"));
}

#[test]
fn the_table_takes_the_place_between_its_marks() {
    let graded = claims();
    let text = "a\n<!-- verdicts entropy -->\nold\n<!-- end -->\nb\n";
    let new = with_verdicts(text, "entropy", &graded).unwrap();
    assert!(new.starts_with("a\n<!-- verdicts entropy -->\n| | claim |"));
    assert!(new.ends_with(" |\n<!-- end -->\nb\n") && !new.contains("\nold\n"));
    assert_eq!(with_verdicts(&new, "entropy", &graded).unwrap(), new);
    let sentence = with_verdicts("a\n<!-- end -->", "entropy", &graded).unwrap_err().to_string();
    assert!(sentence.contains("expected <!-- verdicts entropy -->"), "{sentence}");
}

#[test]
fn a_picture_is_found_by_its_claim_and_number() {
    let graded = claims();
    assert_eq!(find(&graded, "e3").unwrap().title, "Accuracy and entropy");
    assert_eq!(find(&graded, "E3.2").unwrap().title, "Lead of the collapse, seed by seed");
    let sentence = |name| find(&graded, name).unwrap_err().to_string();
    assert!(sentence("E99").starts_with("there is no claim E99; the claims are E1, E2"));
    for name in ["E3.3", "E3.0", "E3.x", "E4"] {
        assert!(sentence(name).ends_with(&format!("there is no {name}")), "{name}");
    }
}

#[test]
fn a_folder_of_results_is_rebuilt_with_nothing_but_its_records() {
    let root = std::env::temp_dir().join(format!("plateau-study-page-{}", std::process::id()));
    let dir = root.join("results/entropy");
    let row = Row { group: "add".into(), ..rows()[0].clone() };
    let results = Results::new(&dir, crate::record::ENTROPY);
    let made = Provenance {
        hash: row.hash.clone(),
        seed: row.seed,
        commit: "0123456789ab".into(),
        dirty: true,
        rustc: "rustc 1.0".into(),
        cpu: "a <fast> CPU".into(),
        simd: "avx2".into(),
        command: vec!["plateau".into(), "study".into()],
        started: "2026-01-01T00:00:00Z".into(),
    };
    results.add(&Record { row: row.clone(), curves: Vec::new() }, &made).unwrap();
    fs::create_dir_all(root.join(format!("runs/entropy-paper-add/{}-s{}", row.hash, row.seed)))
        .unwrap();
    assert!(is_results(&dir) && !is_results(&root));
    let graded = graded(&dir).unwrap();
    let path = write(&dir, &graded).unwrap();
    let page = fs::read_to_string(&path).unwrap();
    let link = format!("href=\"../../runs/entropy-paper-add/{}-s{}/\"", row.hash, row.seed);
    assert!(page.contains(&link) && page.contains("at laptop scale"));
    assert!(
        page.contains("0123456789ab, changed (1 run)")
            && page.contains("a &lt;fast&gt; CPU (1 run)")
    );
    assert!(dir.join("verdicts.json").is_file());
    write(&dir, &graded).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), page, "nothing of the hour is in it");
    let elsewhere = root.join("results/other");
    fs::rename(&dir, &elsewhere).unwrap();
    let sentence = write(&elsewhere, &graded).unwrap_err().to_string();
    assert!(
        sentence.ends_with(
            "which are entropy-smoke, entropy, entropy-paper, collatz-smoke, collatz, collatz-paper"
        ),
        "{sentence}"
    );
    fs::remove_dir_all(root).unwrap();
}

#[test]
#[ignore = "writes a page and pictures to look at, into target/look"]
fn something_to_look_at() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/look");
    fs::create_dir_all(&dir).unwrap();
    let graded = claims();
    fs::write(dir.join("study.html"), page(&graded, &rows())).unwrap();
    fs::write(dir.join("verdicts.md"), verdicts_markdown(&graded)).unwrap();
    for name in ["E3", "E3.2", "E5", "E7", "E12"] {
        fs::write(dir.join(format!("{name}.svg")), figure_svg(find(&graded, name).unwrap()))
            .unwrap();
    }
}

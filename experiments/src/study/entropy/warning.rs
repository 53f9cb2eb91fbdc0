//! What nobody has shown: how early H̃ warns when runs go on past the jump, the threshold comes from
//! other seeds' controls, and every detector may raise as many false alarms.

use super::claims::CONTROLS;
use super::prediction::forecast_curves;
use crate::forecast::alarm::{Detector, warnings};
use crate::forecast::curve::Curve;
use crate::study::grade::Line;
use crate::study::grade::{Evidence, FEWEST, Figure, Mark, Series, count, mean_of, show};

/// Rates of false alarms among controls at which detectors are compared.
const RATES: [f64; 3] = [0.0, 0.2, 0.4];

/// One figure and one paragraph; `None` with too few runs.
pub fn early_warning(evidence: &Evidence) -> Option<(Figure, String)> {
    let add = evidence.grokked("add");
    let controls: Vec<_> =
        evidence.groups(&CONTROLS).into_iter().filter(|r| r.row.t_grok.is_none()).collect();
    if add.len() < FEWEST || controls.len() < FEWEST {
        return None;
    }
    let (runs, quiet): (Vec<Curve>, Vec<Curve>) =
        (forecast_curves(&add), forecast_curves(&controls));
    let mut figure = Figure {
        title: "Lead of the first stable alarm over T_grok, at an equal rate of false alarms"
            .into(),
        axes: ["false alarms allowed among the controls", "mean lead (steps)"],
        log: [false, false],
        places: vec![(0.0, "none"), (0.2, "20 %"), (0.4, "40 %")],
        series: vec![],
        lines: vec![Line { label: "T_grok".into(), at: 0.0, horizontal: true }],
    };
    let mut parts = Vec::new();
    for (d, detector) in Detector::ALL.into_iter().enumerate() {
        let mut series = Series {
            name: detector.name().into(),
            mark: Mark::Interval,
            points: vec![],
            ends: vec![],
            label: detector.name().into(),
        };
        for (r, rate) in RATES.into_iter().enumerate() {
            let found = warnings(&runs, &quiet, detector, rate);
            let leads: Vec<f64> = found.iter().filter_map(|w| Some(w.lead()? as f64)).collect();
            let ahead = leads.iter().filter(|&&lead| lead > 0.0).count();
            let lead = mean_of(&leads);
            if r == 0 {
                // What a control of a new seed would have raised under the same thresholds.
                let unseen = warnings(&quiet, &quiet, detector, rate);
                let alarms = unseen.iter().filter(|w| w.alarm.is_some()).count();
                parts.push(format!(
                    "{}: {} steps ({} that warn), ahead in {}, false alarms at unseen controls {}",
                    detector.name(),
                    show(lead, 0),
                    leads.len(),
                    count(ahead, found.len()),
                    count(alarms, unseen.len())
                ));
            }
            if let Some(lead) = lead {
                series.points.push([rate + 0.008 * (d as f64 - 2.0), lead.value]);
                series.ends.push(lead.interval.unwrap_or([lead.value; 2]));
            }
        }
        figure.series.push(series);
    }
    let text = format!(
        "Each detector warns when its reading has been low for three evaluations in a row, under the threshold \
         at which none of the controls of other seeds would have raised an alarm. Lead over T_grok: {}.",
        parts.join("; ")
    );
    Some((figure, text))
}

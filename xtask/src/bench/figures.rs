//! Measured values: their names, how they are shown, and how two sets of them are compared.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// Which way a figure should go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
    /// It only says what was measured.
    Neither,
}

/// One measured value.
pub(crate) struct Figure {
    /// Unique in a run, and the same in the next.
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    /// What it should be, for people.
    pub(crate) goal: &'static str,
}

pub(crate) type Figures = Result<Vec<Figure>, String>;

/// Changes up to this share are not told.
const NOISE: f64 = 0.05;

impl Figure {
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, better: Better::Neither, goal: "" }
    }

    /// It should grow; `goal` is for people.
    pub(crate) fn up(self, goal: &'static str) -> Self {
        Self { better: Better::Higher, goal, ..self }
    }

    /// It should shrink; `goal` is for people.
    pub(crate) fn down(self, goal: &'static str) -> Self {
        Self { better: Better::Lower, goal, ..self }
    }
}

/// Prints the figures as a table.
pub(crate) fn print(figures: &[Figure]) {
    for Figure { name, value, unit, goal, .. } in figures {
        println!("{name:<64} {value:>10.3} {unit:<10} {goal}");
    }
}

/// Writes the figures as JSON: an array of objects with `name`, `value` and `unit`.
pub(crate) fn write(figures: &[Figure], path: &Path) -> Result<(), String> {
    let shown = |figure: &Figure| json!({ "name": figure.name, "value": figure.value, "unit": figure.unit });
    let text = format!("{:#}\n", json!(figures.iter().map(shown).collect::<Vec<_>>()));
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Figures that [`write()`] wrote before.
pub(crate) struct Old {
    shown: String,
    values: Vec<(String, f64)>,
}

impl Old {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
        let failed = |error: String| format!("{shown} holds no figures: {error}");
        let figures: Vec<Value> =
            serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        let value = |figure: &Value| {
            let value = Some((figure["name"].as_str()?.to_owned(), figure["value"].as_f64()?));
            value.filter(|(_, value)| value.is_finite())
        };
        let values = figures.iter().map(|figure| value(figure).ok_or(figure.to_string()));
        let values = values.collect::<Result<_, _>>().map_err(failed)?;
        Ok(Self { shown, values })
    }
}

/// Prints what changed by more than 5 % against older figures, of percentages by more than 5 points; answers how many
/// figures became worse.
pub(crate) fn compare(figures: &[Figure], old: &Old) -> usize {
    let mut worse = 0;
    println!("\nagainst {}:", old.shown);
    for Figure { name, value, unit, better, .. } in figures {
        let Some((_, before)) = old.values.iter().find(|(old, _)| old == name) else {
            println!("{name:<64} {value:>10.3} {unit:<10} new");
            continue;
        };
        let (change, of) = match *unit {
            "%" => ((value - before) / 100.0, "points"),
            _ => ((value - before) / before.abs(), "%"),
        };
        if change.is_nan() || change.abs() <= NOISE {
            continue;
        }
        let verdict = match (better, change > 0.0) {
            (Better::Neither, _) => "",
            (Better::Higher, true) | (Better::Lower, false) => "better",
            (Better::Higher, false) | (Better::Lower, true) => "WORSE",
        };
        worse += usize::from(verdict == "WORSE");
        let change = change * 100.0;
        println!("{name:<64} {before:>10.3} -> {value:.3} {unit} ({change:+.0} {of}) {verdict}");
    }
    let is_gone = |name: &&String| figures.iter().all(|figure| figure.name != **name);
    let gone: Vec<&String> = old.values.iter().map(|(name, _)| name).filter(is_gone).collect();
    if let [first, ..] = gone[..] {
        println!("not measured this time: {} figures, the first of them {first:?}", gone.len());
    }
    worse
}

/// A number of a report.
pub(crate) fn number(value: &Value) -> Result<f64, String> {
    value.as_f64().ok_or_else(|| format!("{value} is no number"))
}

/// A whole number of a report, which may be written as text.
pub(crate) fn whole(value: &Value) -> Result<u64, String> {
    let text = value.as_str().and_then(|text| text.parse().ok());
    value.as_u64().or(text).ok_or_else(|| format!("{value} is no whole number"))
}

/// The middle one of the values; the upper of the two middle ones of an even number.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_goes_the_wrong_way_by_more_than_noise_is_worse() {
        let figures = |values: [f64; 4]| {
            let [a, b, c, d] = values;
            vec![
                Figure::new("a", a, "M/s").up(""),
                Figure::new("b", b, "us").down(""),
                Figure::new("c", c, ""),
                Figure::new("d", d, "M/s").up(""),
            ]
        };
        let path = std::env::temp_dir().join(format!("figures-{}.json", std::process::id()));
        write(&figures([10.0, 10.0, 10.0, 10.0]), &path).unwrap();
        let old = Old::read(&path).unwrap();
        assert_eq!(compare(&figures([9.6, 10.4, 20.0, 11.0]), &old), 0);
        assert_eq!(compare(&figures([9.4, 10.6, 20.0, 9.0]), &old), 3);
        for broken in ["{", "[{ \"name\": \"a\" }]"] {
            fs::write(&path, broken).unwrap();
            assert!(Old::read(&path).is_err());
        }
        fs::remove_file(&path).unwrap();
        assert!(Old::read(&path).is_err());
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    }
    #[test]
    fn percentages_change_by_points_and_from_nothing_to_something_is_a_change() {
        let old = |before| Old { shown: String::new(), values: vec![("a".to_owned(), before)] };
        let given_up = |value| [Figure::new("a", value, "%").down("")];
        assert_eq!(compare(&given_up(2.0), &old(-1.8)), 0);
        assert_eq!(compare(&given_up(5.0), &old(-1.8)), 1);
        let took = |value| [Figure::new("a", value, "s").down("")];
        assert_eq!(compare(&took(1.0), &old(0.0)), 1);
        assert_eq!(compare(&took(0.0), &old(0.0)), 0);
    }
}

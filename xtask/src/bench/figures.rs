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

/// Prints what changed by more than 5 % against the figures in a file that [`write()`] made; answers how many figures
/// became worse.
pub(crate) fn compare(figures: &[Figure], old: &Path) -> Result<usize, String> {
    let text = fs::read_to_string(old).map_err(|error| format!("{}: {error}", old.display()))?;
    let old_figures: Vec<Value> = serde_json::from_str(&text)
        .map_err(|error| format!("{} holds no figures: {error}", old.display()))?;
    let mut worse = 0;
    println!("\nagainst {}:", old.display());
    for Figure { name, value, unit, better, .. } in figures {
        let before = old_figures.iter().find(|figure| figure["name"] == **name);
        let Some(before) = before.and_then(|figure| figure["value"].as_f64()) else {
            println!("{name:<64} {value:>10.3} {unit:<10} new");
            continue;
        };
        let change = value / before - 1.0;
        if change.abs() <= NOISE || !change.is_finite() {
            continue;
        }
        let verdict = match (better, change > 0.0) {
            (Better::Neither, _) => "",
            (Better::Higher, true) | (Better::Lower, false) => "better",
            (Better::Higher, false) | (Better::Lower, true) => "WORSE",
        };
        worse += usize::from(verdict == "WORSE");
        println!(
            "{name:<64} {before:>10.3} -> {value:.3} {unit} ({:+.0} %) {verdict}",
            change * 100.0
        );
    }
    Ok(worse)
}

/// A number of a report.
pub(crate) fn number(value: &Value) -> Result<f64, String> {
    value.as_f64().ok_or_else(|| format!("{value} is no number"))
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
        assert_eq!(compare(&figures([9.6, 10.4, 20.0, 11.0]), &path), Ok(0));
        assert_eq!(compare(&figures([9.4, 10.6, 20.0, 9.0]), &path), Ok(3));
        fs::write(&path, "{").unwrap();
        assert!(compare(&figures([1.0; 4]), &path).is_err());
        fs::remove_file(&path).unwrap();
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    }
}

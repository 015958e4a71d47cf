//! Columns of text.

/// Lays `rows` out in columns, two blanks between them, each row after `indent` blanks. Columns
/// listed in `right` are aligned to the right.
pub(super) fn table<const N: usize>(
    rows: &[[String; N]],
    indent: usize,
    right: &[usize],
) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if right.contains(&column) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text += &format!("{:indent$}{}\n", "", line.trim_end());
    }
    text
}

/// A count with its thousands set apart: `1_234_567` becomes `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A quantity in three digits: 950, 12.3k, 4.56M.
pub(super) fn short(number: f64) -> String {
    scaled(number, 1000.0, &["", "k", "M", "G", "T"])
}

/// Bytes in three digits: 512 B, 1.50 KiB, 34.0 MiB.
pub(super) fn short_bytes(bytes: u64) -> String {
    scaled(bytes as f64, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

fn scaled(mut number: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while number >= step * 0.9995 && unit + 1 < units.len() {
        number /= step;
        unit += 1;
    }
    let decimals = match number {
        _ if unit == 0 => 0,
        n if n < 9.995 => 2,
        n if n < 99.95 => 1,
        _ => 0,
    };
    format!("{number:.decimals$}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let row = |a: &str, b: &str, c: &str| [a.to_owned(), b.to_owned(), c.to_owned()];
        let rows = [row("in", "1", "x"), row("words", "1,000", "")];
        assert_eq!(table(&rows, 2, &[1]), "  in         1  x\n  words  1,000\n");
    }

    #[test]
    fn numbers_are_shown_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(short(950.0), "950");
        assert_eq!(short(999.7), "1.00k");
        assert_eq!(short(12_345.0), "12.3k");
        assert_eq!(short_bytes(0), "0 B");
        assert_eq!(short_bytes(1536), "1.50 KiB");
        assert_eq!(short_bytes(34 << 20), "34.0 MiB");
    }
}

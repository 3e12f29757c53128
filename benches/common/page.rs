//! Tables as the page on performance has them, and that page.

use std::{fs, path::Path};

/// A table in Markdown, its columns as wide as on paper.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let width = |column: usize| {
        let cells = rows.iter().chain([&head]).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = line(&head, &widths);
    let rules = widths.iter().enumerate().map(|(column, width)| match column {
        0 => "-".repeat(width + 2),
        _ => format!("{}:", "-".repeat(width + 1)),
    });
    text += &format!("|{}|\n", rules.collect::<Vec<_>>().join("|"));
    rows.iter().for_each(|row| text += &line(row, &widths));
    text
}

/// The first column to the left, the others to the right.
fn line(cells: &[String], widths: &[usize]) -> String {
    let cells = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
        0 => format!("| {cell:<width$} "),
        _ => format!("| {cell:>width$} "),
    });
    cells.collect::<String>() + "|\n"
}

/// Prints `text`; with `--write` it also replaces what stands between the marks `name` on the page.
pub fn publish(name: &str, text: &str) {
    println!("\n{text}");
    if !std::env::args().any(|argument| argument == "--write") {
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/docs/performance.md");
    let written = fs::read_to_string(&page).unwrap();
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let (before, rest) = written.split_once(&begin).unwrap_or_else(|| panic!("the page has no mark `{name}`"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("the mark `{name}` has no end"));
    fs::write(&page, format!("{before}{begin}{text}{end}{after}")).unwrap();
}

/// A whole number with a comma between thousands.
pub fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

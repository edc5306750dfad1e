//! Tables for a terminal, for Markdown and for HTML.

use super::page::escape;
use std::fmt::Write as _;

/// On which side a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table of words; every row is as long as the header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    header: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these columns. A name that begins with `<` stands left without it, the others right.
    pub fn new<S: AsRef<str>>(columns: impl IntoIterator<Item = S>) -> Self {
        let column = |name: S| match name.as_ref().strip_prefix('<') {
            Some(name) => (name.to_owned(), Align::Left),
            None => (name.as_ref().to_owned(), Align::Right),
        };
        Self {
            header: columns.into_iter().map(column).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; it is cut or filled up to the length of the header.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let mut row: Vec<String> = cells.into_iter().map(Into::into).collect();
        row.resize(self.header.len(), String::new());
        self.rows.push(row);
    }

    /// For a terminal: columns two spaces apart.
    pub fn text(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells
                .chain([self.header[column].0.chars().count()])
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let names: Vec<String> = self.header.iter().map(|(name, _)| name.clone()).collect();
        let mut out = String::new();
        for row in std::iter::once(&names).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, width), (_, align)) in row.iter().zip(&widths).zip(&self.header) {
                let space = if line.is_empty() { "" } else { "  " };
                let _ = match align {
                    Align::Left => write!(line, "{space}{cell:<width$}"),
                    Align::Right => write!(line, "{space}{cell:>width$}"),
                };
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }

    /// For Markdown.
    pub fn markdown(&self) -> String {
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let cells: Vec<String> = cells.map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let mut out = line(&mut self.header.iter().map(|(name, _)| name.as_str()));
        out += &line(&mut self.header.iter().map(|(_, align)| match align {
            Align::Left => "---",
            Align::Right => "---:",
        }));
        for row in &self.rows {
            out += &line(&mut row.iter().map(String::as_str));
        }
        out
    }

    /// For HTML.
    pub fn html(&self) -> String {
        let line = |tag: &str, cells: &mut dyn Iterator<Item = &str>| {
            let cells = cells.zip(&self.header).map(|(cell, (_, align))| {
                let class = match align {
                    Align::Left => " class=\"word\"",
                    Align::Right => "",
                };
                format!("<{tag}{class}>{}</{tag}>", escape(cell))
            });
            format!("<tr>{}</tr>\n", cells.collect::<String>())
        };
        let head = line("th", &mut self.header.iter().map(|(name, _)| name.as_str()));
        let rows = self.rows.iter();
        let body: String = rows
            .map(|row| line("td", &mut row.iter().map(String::as_str)))
            .collect();
        format!("<table>\n<thead>\n{head}</thead>\n<tbody>\n{body}</tbody>\n</table>\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["<agent", "mean"]);
        table.row(["nlp", "1.5"]);
        table.row(["a<b|c", "10"]);
        table
    }

    #[test]
    fn words_stand_left_and_numbers_right() {
        assert_eq!(table().text(), "agent  mean\nnlp     1.5\na<b|c    10\n");
    }

    #[test]
    fn what_has_a_meaning_in_a_format_is_escaped_there() {
        assert!(table().markdown().contains("| a<b\\|c | 10 |"));
        assert!(table().markdown().contains("| --- | ---: |"));
        assert!(table().html().contains("<td class=\"word\">a&lt;b|c</td>"));
    }

    #[test]
    fn a_short_row_is_filled_up() {
        let mut table = table();
        table.row(["x"]);
        assert!(table.markdown().ends_with("| x |  |\n"));
    }
}

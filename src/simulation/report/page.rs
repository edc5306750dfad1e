//! A page of text, tables and figures, written once and printed in three ways.

use super::table::Table;

/// A page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// What it is about.
    pub title: String,
    /// What stands on it, from top to bottom.
    pub blocks: Vec<Block>,
}

/// A part of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// A heading.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// A table.
    Table(Table),
    /// A plot.
    Figure(Figure),
}

/// A plot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// Name of its file without the ending: lower-case letters, digits and '-'.
    pub name: String,
    /// What it shows.
    pub caption: String,
    /// The picture: one `svg` element.
    pub svg: String,
}

/// Styles of a page: no script, no font or picture from elsewhere; dark text on white, in print as on a screen.
const STYLE: &str = include_str!("page.css");

/// Width of a paragraph in a terminal.
const WIDTH: usize = 110;

impl Page {
    /// Adds a heading.
    pub fn heading(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Heading(text.into()));
    }

    /// Adds a paragraph.
    pub fn text(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Text(text.into()));
    }

    /// Adds a table.
    pub fn table(&mut self, table: Table) {
        self.blocks.push(Block::Table(table));
    }

    /// Its figures.
    pub fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.blocks.iter().filter_map(|block| match block {
            Block::Figure(figure) => Some(figure),
            _ => None,
        })
    }

    /// For a terminal, without its figures.
    pub fn to_text(&self) -> String {
        let mut parts = vec![self.title.clone()];
        for block in &self.blocks {
            match block {
                Block::Heading(text) => parts.push(text.to_uppercase()),
                Block::Text(text) => parts.push(wrapped(text)),
                Block::Table(table) => parts.push(table.text().trim_end().to_owned()),
                Block::Figure(_) => {}
            }
        }
        parts.join("\n\n") + "\n"
    }

    /// For Markdown; headings of `level` and below, figures as links to `folder`/NAME.svg.
    pub fn to_markdown(&self, level: usize, folder: &str) -> String {
        let marks = "#".repeat(level);
        let mut parts = vec![format!("{marks} {}", self.title)];
        for block in &self.blocks {
            parts.push(match block {
                Block::Heading(text) => format!("{marks}# {text}"),
                Block::Text(text) => text.clone(),
                Block::Table(table) => table.markdown().trim_end().to_owned(),
                Block::Figure(figure) => {
                    format!("![{}]({folder}/{}.svg)", figure.caption, figure.name)
                }
            });
        }
        parts.join("\n\n") + "\n"
    }

    /// One HTML file that needs no other.
    pub fn to_html(&self) -> String {
        let title = escape(&self.title);
        let mut body = format!("<h1>{title}</h1>\n");
        for block in &self.blocks {
            body += &match block {
                Block::Heading(text) => format!("<h2>{}</h2>\n", escape(text)),
                Block::Text(text) => format!("<p>{}</p>\n", escape(text)),
                Block::Table(table) => format!("<div class=\"wide\">{}</div>\n", table.html()),
                Block::Figure(figure) => format!(
                    "<figure>\n{}\n<figcaption>{}</figcaption>\n</figure>\n",
                    figure.svg,
                    escape(&figure.caption)
                ),
            };
        }
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
             <style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
        )
    }
}

/// Text that is safe between tags and in attributes.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Broken at spaces into lines of at most [`WIDTH`] characters, where words allow it.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let mut page = Page {
            title: "A & B".to_owned(),
            ..Page::default()
        };
        page.heading("First");
        page.text("word ".repeat(60));
        page.blocks.push(Block::Figure(Figure {
            name: "plot".to_owned(),
            caption: "It grows.".to_owned(),
            svg: "<svg/>".to_owned(),
        }));
        page
    }

    #[test]
    fn a_page_says_the_same_in_three_ways() {
        let page = page();
        let text = page.to_text();
        assert!(text.starts_with("A & B\n\nFIRST\n\nword word"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
        let markdown = page.to_markdown(2, "plots");
        assert!(
            markdown.starts_with("## A & B\n\n### First\n"),
            "{markdown}"
        );
        assert!(markdown.contains("![It grows.](plots/plot.svg)"));
        let html = page.to_html();
        assert!(html.contains("<h1>A &amp; B</h1>") && html.contains("<figure>\n<svg/>"));
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere_and_runs_nothing() {
        let html = page().to_html();
        for outside in ["http", "<script", "<link", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
    }
}

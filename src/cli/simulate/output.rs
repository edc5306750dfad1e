//! Where results go: to the terminal, or to files by their endings.

use super::failure::Failure;
use crate::simulation::report::{Page, Results, csv};
use std::path::{Path, PathBuf};

/// One `--output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Output {
    format: Format,
    file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Markdown,
    Json,
    Csv,
    Html,
}

impl Output {
    /// To the terminal, as text.
    pub const TERMINAL: Self = Self {
        format: Format::Text,
        file: None,
    };

    /// Reads `json` (to standard output) or `report.html`.
    ///
    /// # Errors
    /// Neither a format nor a file with the ending of one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let format = |name: &str| {
            Some(match name {
                "text" | "txt" => Format::Text,
                "markdown" | "md" => Format::Markdown,
                "json" => Format::Json,
                "csv" => Format::Csv,
                "html" => Format::Html,
                _ => return None,
            })
        };
        if let Some(format) = format(text) {
            return Ok(Self { format, file: None });
        }
        let file = PathBuf::from(text);
        let ending = file.extension().and_then(|e| e.to_str()).and_then(format);
        match ending {
            Some(format) => Ok(Self {
                format,
                file: Some(file),
            }),
            None => {
                Err("must be text, markdown, json, csv or html, or a file that ends so".to_owned())
            }
        }
    }

    /// Refuses before the work what could not be written after it. `has_data`: the page has numbers.
    ///
    /// # Errors
    /// A format in which the page does not exist, or a file without its folder.
    pub fn check(&self, has_data: bool) -> Result<(), Failure> {
        if !has_data && matches!(self.format, Format::Json | Format::Csv) {
            return Err(no_such_format());
        }
        let Some(file) = &self.file else {
            return Ok(());
        };
        let folder = file.parent();
        match folder.filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) if !folder.is_dir() => {
                let why = format!("there is no folder {}", folder.display());
                Err(unwritable(file, why))
            }
            _ if file.is_dir() => Err(unwritable(file, "it is a folder")),
            _ => Ok(()),
        }
    }

    /// Writes a page; its numbers too, where it has some.
    ///
    /// # Errors
    /// A file that cannot be written, or a format in which the page does not exist.
    pub fn write(&self, page: &Page, results: Option<&Results>) -> Result<(), Failure> {
        let text = match self.format {
            Format::Text => page.to_text(),
            Format::Markdown => page.to_markdown(1, "plots"),
            Format::Html => page.to_html(),
            Format::Csv => csv(results.ok_or_else(no_such_format)?),
            Format::Json => {
                let results = results.ok_or_else(no_such_format)?;
                let text = serde_json::to_string_pretty(results);
                text.map_err(|error| Failure::Run(error.to_string()))? + "\n"
            }
        };
        match &self.file {
            None => print(&text),
            Some(file) => write(file, &text),
        }
    }
}

fn no_such_format() -> Failure {
    Failure::input(
        "--output",
        "this page has no such format; take text, markdown or html",
    )
}

fn unwritable(file: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::input(file.display(), format_args!("cannot be written: {why}"))
}

/// Refuses before the work a folder for plots that could not be made after it.
///
/// # Errors
/// It is a file, or would be in one.
pub(super) fn check_plots(folder: &Path) -> Result<(), Failure> {
    let there = folder.ancestors().find(|above| above.exists());
    match there {
        Some(there) if !there.is_dir() => {
            let why = format!("cannot be made: {} is a file", there.display());
            Err(Failure::input(folder.display(), why))
        }
        _ => Ok(()),
    }
}

/// Writes the plots of a page as SVG files into a folder, which is made if need be.
///
/// # Errors
/// What cannot be written.
pub(super) fn plots(folder: &Path, page: &Page) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(|error| {
        Failure::input(folder.display(), format_args!("cannot be made: {error}"))
    })?;
    page.figures()
        .try_for_each(|figure| write(&folder.join(format!("{}.svg", figure.name)), &figure.svg))
}

/// Says what it wrote on standard error: standard output is for results.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text).map_err(|error| unwritable(file, error))?;
    eprintln!("written: {}", file.display());
    Ok(())
}

/// To standard output; a reader that has seen enough is no failure.
fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Run(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_a_format_or_a_file_with_its_ending() {
        let html = Output::parse("a/b.html");
        assert!(html.is_ok_and(|o| o.format == Format::Html && o.file.is_some()));
        assert!(Output::parse("json").is_ok_and(|o| o.file.is_none()));
        assert!(Output::parse("report.pdf").is_err() && Output::parse("").is_err());
    }

    fn refused(output: &str, has_data: bool) -> String {
        let checked = Output::parse(output).map(|output| output.check(has_data));
        match checked {
            Ok(Ok(())) => String::new(),
            Ok(Err(failure)) => failure.to_string(),
            Err(error) => error,
        }
    }

    #[test]
    fn what_could_not_be_written_is_known_before() {
        for data in ["json", "csv", "report.csv"] {
            assert_eq!(refused(data, true), "");
            let found = refused(data, false);
            assert!(found.contains("take text, markdown or html"), "{found}");
        }
        assert_eq!(refused("html", false), "");
        assert_eq!(
            refused("/none/such/x.html", true),
            "/none/such/x.html: cannot be written: there is no folder /none/such"
        );
        let folder = std::env::temp_dir().join(format!("output-{}.md", std::process::id()));
        assert!(std::fs::create_dir_all(folder.join("plots")).is_ok());
        let file = folder.join("file");
        assert!(std::fs::write(&file, "").is_ok());
        let found = [
            refused(&folder.display().to_string(), true),
            refused(&folder.join("x.md").display().to_string(), true),
            refused(&file.join("x.md").display().to_string(), true),
        ];
        let plots = ["plots", "new/plots", "file", "file/plots"]
            .map(|name| check_plots(&folder.join(name)).is_ok());
        assert!(std::fs::remove_dir_all(&folder).is_ok());
        assert!(found[0].ends_with("it is a folder"), "{found:?}");
        assert_eq!(found[1], "");
        assert!(found[2].contains("there is no folder"), "{found:?}");
        assert_eq!(plots, [true, true, false, false]);
    }
}

use std::io::{BufRead, Read as _};

use super::TraceError;

/// Characters of a value that an error quotes.
const QUOTED: usize = 60;

/// A file line by line, in bounded memory.
pub(super) struct Lines<'a, R> {
    input: R,
    file: &'a str,
    longest: usize,
    /// Of the line in `bytes`, from 1.
    number: u64,
    bytes: Vec<u8>,
}

impl<'a, R: BufRead> Lines<'a, R> {
    pub fn new(input: R, file: &'a str, longest: usize) -> Self {
        Self {
            input,
            file,
            longest,
            number: 0,
            bytes: Vec::new(),
        }
    }

    /// Reads the next line that is not blank, without its end; `None` after the last. Blank lines may stand only at the end.
    pub fn advance(&mut self) -> Result<bool, TraceError> {
        let mut blank = None;
        loop {
            self.number += 1;
            self.bytes.clear();
            let most = self.longest as u64 + 2;
            let read = (&mut self.input)
                .take(most)
                .read_until(b'\n', &mut self.bytes);
            if let Err(error) = read {
                return Err(TraceError::Unreadable {
                    file: self.file.to_owned(),
                    line: self.number,
                    reason: error.to_string(),
                });
            }
            if self.bytes.is_empty() {
                return Ok(false);
            }
            while matches!(self.bytes.last(), Some(b'\n' | b'\r')) {
                self.bytes.pop();
            }
            if self.bytes.len() > self.longest {
                return Err(TraceError::LongLine {
                    file: self.file.to_owned(),
                    line: self.number,
                    limit: self.longest,
                });
            }
            if self.number == 1 && self.bytes.starts_with(b"\xef\xbb\xbf") {
                self.bytes.drain(..3);
            }
            if !self.bytes.iter().all(u8::is_ascii_whitespace) {
                break;
            }
            blank.get_or_insert(self.number);
        }
        match blank {
            Some(line) => {
                self.number = line;
                Err(self.wrong("the line", "", "blank lines may stand only at the end"))
            }
            None => Ok(true),
        }
    }

    /// The line that was read last.
    pub fn text(&self) -> Result<&str, TraceError> {
        std::str::from_utf8(&self.bytes).map_err(|_| {
            let lossy = String::from_utf8_lossy(&self.bytes).into_owned();
            self.wrong("the line", &lossy, "must be UTF-8 text")
        })
    }

    /// An error in the line that was read last.
    pub fn wrong(&self, field: &str, value: &str, right: &str) -> TraceError {
        TraceError::Field {
            file: self.file.to_owned(),
            line: self.number,
            field: field.to_owned(),
            value: shortened(value),
            right: right.to_owned(),
        }
    }

    pub fn too_many(&self, what: &'static str, limit: usize) -> TraceError {
        TraceError::TooMany {
            file: self.file.to_owned(),
            line: self.number,
            what,
            limit,
        }
    }
}

/// The beginning of a value, for an error.
pub(super) fn shortened(value: &str) -> String {
    match value.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value.to_owned(),
    }
}

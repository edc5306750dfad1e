//! Recordings on disk, line by line: what `replay` computes again and `simulate --from` takes as load.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

/// Longest line that is read, in bytes; the recorder's files are never larger than 8 Gi, its lines far smaller.
const LONGEST: u64 = 256 << 20;

/// The files of these folders and files, in the order of their names within a folder.
///
/// # Errors
/// What cannot be read, or a folder without a recording.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for path in paths {
        let fails = |error: std::io::Error| format!("{}: {error}", path.display());
        if !std::fs::metadata(path).map_err(fails)?.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut own = Vec::new();
        for entry in std::fs::read_dir(path).map_err(fails)? {
            let file = entry.map_err(fails)?.path();
            if file.extension().is_some_and(|e| e == "jsonl") {
                own.push(file);
            }
        }
        if own.is_empty() {
            let path = path.display();
            return Err(format!(
                "{path}: no recording in it: expected files *.jsonl, as `agentpool run --record` writes them"
            ));
        }
        own.sort();
        files.extend(own);
    }
    Ok(files)
}

/// Hands every line of a file on, with its place (`FILE:LINE`). Whether the last one is cut, which is passed over: the operator was
/// killed while it wrote it, or is writing it.
///
/// # Errors
/// What cannot be read or is not taken, after its place.
pub(super) fn read(
    path: &Path,
    mut take: impl FnMut(&str, &str) -> Result<(), String>,
) -> Result<bool, String> {
    read_lines(path, LONGEST, &mut take)
}

fn read_lines(
    path: &Path,
    longest: u64,
    take: &mut dyn FnMut(&str, &str) -> Result<(), String>,
) -> Result<bool, String> {
    let shown = path.display();
    let file = File::open(path).map_err(|error| format!("{shown}: {error}"))?;
    let mut input = BufReader::new(file);
    let mut bytes = Vec::new();
    for number in 1u64.. {
        let place = format!("{shown}:{number}");
        let fails = |what: &dyn std::fmt::Display| format!("{place}: {what}");
        bytes.clear();
        let read = (&mut input).take(longest).read_until(b'\n', &mut bytes);
        if read.map_err(|error| fails(&error))? == 0 {
            break;
        }
        if bytes.last() != Some(&b'\n') {
            if bytes.len() as u64 >= longest {
                return Err(fails(&format_args!("a line of more than {longest} bytes")));
            }
            return Ok(true);
        }
        bytes.pop();
        let text = std::str::from_utf8(&bytes).map_err(|error| fails(&error))?;
        take(&place, text).map_err(|error| fails(&error))?;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_have_places_a_cut_one_is_passed_over_and_an_endless_one_refused() {
        let name = format!("recordings-{}.jsonl", std::process::id());
        let file = std::env::temp_dir().join(name);
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let mut taken = Vec::new();
            let cut = read_lines(&file, 8, &mut |place, line| {
                taken.push((
                    place.rsplit(':').next().unwrap().to_owned(),
                    line.to_owned(),
                ));
                Ok(())
            });
            cut.map(|cut| (taken, cut))
        };
        let taken = |lines: &[(&str, &str)]| -> Vec<(String, String)> {
            let own = lines
                .iter()
                .map(|(n, line)| ((*n).to_owned(), (*line).to_owned()));
            own.collect()
        };
        let two = taken(&[("1", "a"), ("2", "b")]);
        assert_eq!(read("a\nb\n"), Ok((two.clone(), false)));
        assert_eq!(read("a\nb\ncut"), Ok((two, true)));
        assert_eq!(read(""), Ok((Vec::new(), false)));
        let endless = read("a\n123456789").unwrap_err();
        std::fs::remove_file(&file).unwrap();
        assert!(
            endless.ends_with(":2: a line of more than 8 bytes"),
            "{endless}"
        );
    }
}

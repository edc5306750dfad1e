use super::RecordConfig;
use crate::recording::{Head, Line};
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result, Write as _};
use std::path::{Path, PathBuf};

/// All files together are this many times as large as one.
const FILES: u64 = 8;
/// What a file of a recording is called begins with this. Others in the folder are left alone.
const PREFIX: &str = "decisions-";
const SUFFIX: &str = ".jsonl";

/// The files of a recording: one is written, full ones are kept while there is room.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    max_bytes: u64,
    /// The file that is written and its length; `None` after a failure, because its last line may be cut.
    current: Option<(File, u64)>,
    begun: u64,
}

impl Files {
    /// Makes the folder.
    pub(super) fn open(config: RecordConfig) -> Result<Self> {
        std::fs::create_dir_all(&config.folder)?;
        Ok(Self {
            folder: config.folder,
            max_bytes: config.max_bytes,
            current: None,
            begun: 0,
        })
    }

    /// Whether so many more bytes go into the file that is written.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let most = self.max_bytes / FILES;
        self.current
            .as_ref()
            .is_some_and(|(_, length)| length.saturating_add(bytes as u64) <= most)
    }

    /// Begins a new file, after the oldest have made room for it.
    pub(super) fn begin(&mut self, wall: jiff::Timestamp) -> Result<()> {
        self.current = None;
        self.make_room()?;
        let head = Line::Head(Head::new(env!("CARGO_PKG_VERSION"), wall.to_string()))
            .write()
            .map_err(Error::other)?;
        let mut file = self.create(wall)?;
        file.write_all(format!("{head}\n").as_bytes())?;
        self.current = Some((file, head.len() as u64 + 1));
        Ok(())
    }

    /// Writes whole lines, in one call: a process that is killed leaves at most one of them cut.
    pub(super) fn append(&mut self, lines: &str) -> Result<()> {
        if !self.has_room(lines.len()) {
            let most = self.max_bytes / FILES;
            let length = lines.len();
            let text =
                format!("a decision of {length} bytes is larger than a file may be ({most})");
            return Err(Error::new(ErrorKind::FileTooLarge, text));
        }
        let Some((mut file, length)) = self.current.take() else {
            return Err(Error::other("no file is begun"));
        };
        file.write_all(lines.as_bytes())?;
        self.current = Some((file, length.saturating_add(lines.len() as u64)));
        Ok(())
    }

    /// Names sort by time; two processes never write the same file.
    fn create(&mut self, wall: jiff::Timestamp) -> Result<File> {
        loop {
            let time = wall.strftime("%Y%m%dT%H%M%SZ");
            let name = format!("{PREFIX}{time}-{:06}{SUFFIX}", self.begun);
            self.begun += 1;
            let mut options = OpenOptions::new();
            match options
                .write(true)
                .create_new(true)
                .open(self.folder.join(name))
            {
                Err(error)
                    if error.kind() == ErrorKind::AlreadyExists && self.begun < 1_000_000 => {}
                opened => return opened,
            }
        }
    }

    fn make_room(&self) -> Result<()> {
        let mut files = list(&self.folder)?;
        let mut total: u64 = files.iter().map(|(_, length)| length).sum();
        files.reverse();
        while total.saturating_add(self.max_bytes / FILES) > self.max_bytes
            && let Some((oldest, length)) = files.pop()
        {
            std::fs::remove_file(oldest)?;
            total = total.saturating_sub(length);
        }
        Ok(())
    }
}

/// The files of a recording with their lengths, the oldest first.
fn list(folder: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name
            .to_str()
            .is_some_and(|n| n.starts_with(PREFIX) && n.ends_with(SUFFIX));
        if is_ours {
            files.push((entry.path(), entry.metadata()?.len()));
        }
    }
    files.sort();
    Ok(files)
}

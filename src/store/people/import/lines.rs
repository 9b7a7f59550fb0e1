//! Reading a file of lines, one at a time.

use std::io::{BufRead, Read as _};

use zeroize::Zeroize as _;

use crate::contract::decode_import_line;
use crate::domain::import::ImportLine;
use crate::store::people::import::kinds::{ImportError, Numbered};

/// The longest line in bytes: a group of about a million members.
const MAX_LINE: u64 = 16 * 1024 * 1024;

/// The lines of a file, read as they are asked for. After an error, it is of no use any more.
pub(in crate::store) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(in crate::store) fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), number: 0 }
    }

    /// Fills the buffer with the next line; false at the end of the file.
    fn read(&mut self) -> Result<bool, ImportError> {
        self.number += 1;
        let line = self.number;
        let read = (&mut self.reader).take(MAX_LINE + 1).read_until(b'\n', &mut self.buffer);
        match read {
            Ok(0) => Ok(false),
            Ok(bytes) if bytes as u64 > MAX_LINE => {
                Err(ImportError::line(line, format!("is longer than {MAX_LINE} bytes")))
            }
            Ok(_) => Ok(true),
            Err(error) => Err(ImportError::Read { line, error }),
        }
    }

    fn decode(&self) -> Option<Result<ImportLine, ImportError>> {
        // A file may begin with a byte order mark, and files are put together by `cat`.
        let marked = self.buffer.trim_ascii();
        let bytes = marked.strip_prefix(b"\xef\xbb\xbf").unwrap_or(marked).trim_ascii();
        if bytes.is_empty() {
            return None;
        }
        let decoded = match std::str::from_utf8(bytes) {
            Ok(text) => decode_import_line(text).map_err(|error| error.to_string()),
            Err(_) => Err("the line is not UTF-8".to_owned()),
        };
        Some(decoded.map_err(|problem| ImportError::line(self.number, problem)))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Numbered;

    fn next(&mut self) -> Option<Numbered> {
        loop {
            match self.read() {
                Ok(false) => return None,
                Ok(true) => {}
                Err(error) => return Some(Err(error)),
            }
            let decoded = self.decode();
            // The line may hold a client secret in the clear; only what it used is wiped.
            self.buffer.as_mut_slice().zeroize();
            self.buffer.clear();
            if let Some(decoded) = decoded {
                return Some(decoded.map(|line| (self.number, line)));
            }
        }
    }
}

//! Asks for a secret at the terminal, without showing the input.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};

use anyhow::{Context as _, anyhow};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::{MAX_VALUE_BYTES, read_value};
use crate::exit::{Answer, Failure, OrFail as _};

const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const BACKSPACE: u8 = 8;
const CTRL_U: u8 = 21;
const DELETE: u8 = 127;

/// Asks at the terminal of the process, whatever its standard input is.
pub(super) fn ask(what: &str) -> Answer<Zeroizing<Vec<u8>>> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty");
    let terminal = terminal.context("there is no terminal to ask at").or_usage()?;
    let before = tcgetattr(&terminal).context("the terminal cannot be asked").or_usage()?;
    let _quiet = Quiet::new(&terminal, before).or_usage()?;
    (&terminal)
        .write_all(format!("{what} (not shown): ").as_bytes())
        .context("the terminal cannot be asked")
        .or_usage()?;
    let value = read_typed(&terminal);
    // The typed line end was not shown either.
    let _shown = (&terminal).write_all(b"\n");
    value
}

/// One typed line, with support for the keys that correct it.
fn read_typed(mut terminal: &std::fs::File) -> Answer<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_VALUE_BYTES).unwrap_or(usize::MAX)));
    let mut key = Zeroizing::new([0]);
    while terminal.read(&mut *key).context("the terminal cannot be read").or_usage()? == 1 {
        match key[0] {
            b'\n' | b'\r' | CTRL_D => break,
            CTRL_C => return Err(Failure::usage(anyhow!("given up; nothing was changed"))),
            BACKSPACE | DELETE => drop(line.pop()),
            CTRL_U => line.clear(),
            _ if line.len() == line.capacity() => break,
            other => line.push(other),
        }
    }
    read_value(line.as_slice(), "the terminal")
}

/// Shows no typed input for as long as it lives.
struct Quiet<'a> {
    terminal: &'a std::fs::File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn new(terminal: &'a std::fs::File, before: Termios) -> anyhow::Result<Self> {
        let mut quiet = before.clone();
        // Without signals too: one that ended us here would leave the terminal without echo.
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(terminal, OptionalActions::Flush, &quiet).context("the terminal cannot be kept from showing it")?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _restored = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

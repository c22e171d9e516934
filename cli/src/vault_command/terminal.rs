//! Asks for a secret at the terminal, without showing what is typed.

use std::fs::OpenOptions;
use std::io::Write as _;

use anyhow::Context as _;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::read_line;
use crate::exit::{Answer, OrFail as _};

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
    let value = read_line(&terminal, "the terminal");
    // The line end that was typed was not shown either.
    let _shown = (&terminal).write_all(b"\n");
    value
}

/// Shows nothing of what is typed for as long as it lives.
struct Quiet<'a> {
    terminal: &'a std::fs::File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn new(terminal: &'a std::fs::File, before: Termios) -> anyhow::Result<Self> {
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
        tcsetattr(terminal, OptionalActions::Flush, &quiet).context("the terminal cannot be kept from showing it")?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _restored = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

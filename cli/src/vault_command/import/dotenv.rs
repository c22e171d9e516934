//! `.env` files: lines of `NAME=value`, as shells and the usual libraries read them, but without replacing a `$`.
//! Ambiguous input is refused: a credential that is sealed wrong is noticed much later.

use control::import::{Fault, Place, Value};
use model::text_file::without_mark;

/// One variable.
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: Value,
    /// The first `$` that a shell would replace.
    pub(super) dollar: Option<Place>,
}

/// Reads all variables of a file.
///
/// # Errors
/// The first line that is not of this form.
pub(super) fn read(text: &[u8]) -> Result<Vec<Variable>, Fault> {
    let mut reader = Reader { rest: without_mark(text), place: Place { line: 1, column: 1 } };
    let mut variables = Vec::new();
    while !reader.rest.is_empty() {
        reader.blanks();
        match reader.peek() {
            Some(b'#') => reader.comment(),
            Some(b'\n' | b'\r') | None => {}
            Some(_) => variables.push(reader.variable()?),
        }
        reader.line_end()?;
    }
    Ok(variables)
}

/// The rest of the text, and its position.
struct Reader<'a> {
    rest: &'a [u8],
    place: Place,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn next(&mut self) -> Option<(u8, Place)> {
        let (first, rest) = self.rest.split_first()?;
        let place = self.place;
        self.rest = rest;
        match first {
            b'\n' => self.place = Place { line: place.line.saturating_add(1), column: 1 },
            // The bytes of one character are one column.
            _ if rest.first().is_some_and(|next| next & 0xc0 == 0x80) => {}
            _ => self.place.column = place.column.saturating_add(1),
        }
        Some((*first, place))
    }

    fn fault<T>(&self, name: Option<&str>, what: &str) -> Result<T, Fault> {
        Err(Fault { place: Some(self.place), name: name.map(str::to_owned), what: what.to_owned() })
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.next();
        }
    }

    fn comment(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.next();
        }
    }

    fn line_end(&mut self) -> Result<(), Fault> {
        if self.rest.starts_with(b"\r\n") {
            self.next();
        }
        match self.peek() {
            None | Some(b'\n') => {
                self.next();
                Ok(())
            }
            Some(_) => self.fault(None, "the line goes on after the value; quote the value, or begin a comment with #"),
        }
    }

    fn variable(&mut self) -> Result<Variable, Fault> {
        let name = self.name()?;
        let name = if name == "export" && matches!(self.peek(), Some(b' ' | b'\t')) {
            self.blanks();
            self.name()?
        } else {
            name
        };
        self.blanks();
        if self.peek() != Some(b'=') {
            return self.fault(Some(&name), "a `=` is expected after the variable");
        }
        self.next();
        self.blanks();
        let (value, dollar) = match self.peek() {
            Some(b'\'') => (self.single_quoted(&name)?, None),
            Some(b'"') => self.double_quoted(&name)?,
            Some(_) | None => self.unquoted(),
        };
        Ok(Variable { name, value, dollar })
    }

    fn name(&mut self) -> Result<String, Fault> {
        let mut name = String::new();
        while let Some(byte) = self.peek().filter(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
            name.push(char::from(byte));
            self.next();
        }
        if name.starts_with(|first: char| !first.is_ascii_digit()) {
            return Ok(name);
        }
        self.fault(None, "a line begins with a variable (letters, digits and `_`), with `export`, or with #")
    }

    /// To the next quote, also over several lines; no character in it has another meaning.
    fn single_quoted(&mut self, name: &str) -> Result<Value, Fault> {
        self.next();
        let room = self.rest.iter().position(|byte| *byte == b'\'').unwrap_or(self.rest.len());
        let mut value = Value::with_room(room, self.place);
        loop {
            match self.next() {
                Some((b'\'', _)) => break,
                Some((byte, place)) => value.push(&[byte], place),
                None => return self.fault(Some(name), "the quote is never closed"),
            }
        }
        self.after_quote();
        Ok(value)
    }

    fn double_quoted(&mut self, name: &str) -> Result<(Value, Option<Place>), Fault> {
        self.next();
        let mut escaped = false;
        let mut closes = |byte: &u8| {
            let closes = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            closes
        };
        let room = self.rest.iter().position(&mut closes).unwrap_or(self.rest.len());
        let mut value = Value::with_room(room, self.place);
        let mut dollar = None;
        loop {
            match self.next() {
                Some((b'"', _)) => break,
                Some((b'\\', place)) => {
                    let escaped = match self.peek() {
                        Some(b'n') => b'\n',
                        Some(b'r') => b'\r',
                        Some(b't') => b'\t',
                        Some(itself @ (b'\\' | b'"' | b'\'' | b'$' | b'`')) => itself,
                        Some(_) | None => {
                            let known = "a backslash is before n, r, t, a quote, `$`, ` or another backslash; \
                                         between single quotes it stands for itself";
                            return self.fault(Some(name), known);
                        }
                    };
                    self.next();
                    value.push(&[escaped], place);
                }
                Some((byte, place)) => {
                    if byte == b'$' && self.begins_variable() {
                        dollar.get_or_insert(place);
                    }
                    value.push(&[byte], place);
                }
                None => return self.fault(Some(name), "the quote is never closed"),
            }
        }
        self.after_quote();
        Ok((value, dollar))
    }

    /// To the end of the line, or to a `#` after white space.
    fn unquoted(&mut self) -> (Value, Option<Place>) {
        let length = self.rest.iter().position(|byte| *byte == b'\n').unwrap_or(self.rest.len());
        let mut value = Value::with_room(length, self.place);
        let mut dollar = None;
        let mut blank = true;
        while let Some(byte) = self.peek() {
            if byte == b'\n' || self.rest.starts_with(b"\r\n") || self.rest == b"\r" {
                break;
            }
            if byte == b'#' && blank {
                self.comment();
                break;
            }
            blank = matches!(byte, b' ' | b'\t');
            let place = self.place;
            self.next();
            if byte == b'$' && self.begins_variable() {
                dollar.get_or_insert(place);
            }
            value.push(&[byte], place);
        }
        value.trim_end();
        (value, dollar)
    }

    /// Whether a shell would replace the text after a `$`.
    fn begins_variable(&self) -> bool {
        self.peek().is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'{' | b'('))
    }

    fn after_quote(&mut self) {
        self.blanks();
        if self.peek() == Some(b'#') {
            self.comment();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Variable {
        let mut all = read(text.as_bytes()).unwrap_or_else(|fault| panic!("{text:?}: {fault}"));
        assert_eq!(all.len(), 1, "{text:?}");
        all.remove(0)
    }

    #[test]
    fn values_are_read_as_shells_do() {
        for (line, value) in [
            ("A=b", "b"),
            ("  export A=b", "b"),
            ("export\tA = b ", "b"),
            ("A=b\r\n", "b"),
            ("\u{feff}A=b", "b"),
            ("A=", ""),
            ("A= # nothing", ""),
            ("A=#b", ""),
            ("A=b#c", "b#c"),
            ("A=b #c", "b"),
            ("A=b c  ", "b c"),
            ("A=b\\n\"c'", "b\\n\"c'"),
            ("A=b=c==", "b=c=="),
            ("A='b c' # d", "b c"),
            ("A='b\\n$C#'", "b\\n$C#"),
            ("A=\"b c\" # d", "b c"),
            (r#"A="\"\\\n\r\t\$\`\'#""#, "\"\\\n\r\t$`'#"),
            ("A=\"b\nc\"", "b\nc"),
            ("A=''", ""),
            ("# x\n\n \t\nA=é", "é"),
        ] {
            let read = one(line);
            assert_eq!((read.name.as_str(), read.value.text().unwrap()), ("A", value), "{line:?}");
        }
        let many = read(b"A=1\n#B=2\nC='3'\r\nexport D=\"4\"").unwrap();
        let names: Vec<_> = many.iter().map(|variable| (variable.name.as_str(), variable.value.start().line)).collect();
        assert_eq!(names, [("A", 1), ("C", 3), ("D", 4)]);
        assert!(read(b"").unwrap().is_empty());
    }

    #[test]
    fn what_a_shell_would_replace_is_noted_where_it_stands() {
        for (line, column) in [("A=b$C", 4), ("A=\"é${C}\"", 5), ("A=$(id)", 3), ("A=$1$C", 5)] {
            assert_eq!(one(line).dollar, Some(Place { line: 1, column }), "{line}");
        }
        for line in ["A='$C'", "A=\"\\$C\"", "A=b$", "A=$1", "A=b#$", "A=b # $C"] {
            assert_eq!(one(line).dollar, None, "{line}");
        }
    }

    #[test]
    fn what_is_not_in_the_form_is_told_with_its_place_and_without_the_value() {
        for (text, told) in [
            ("A", "line 1, column 2: A: a `=` is expected after the variable"),
            ("export", "line 1, column 7: export: a `=` is expected after the variable"),
            ("\nA-B=c", "line 2, column 2: A: a `=` is expected after the variable"),
            ("1A=b", "line 1, column 3: a line begins with a variable"),
            ("=b", "line 1, column 1: a line begins with a variable"),
            ("A='sEcReT", "line 1, column 10: A: the quote is never closed"),
            ("A=\"sEcReT\n", "line 2, column 1: A: the quote is never closed"),
            ("A='b'sEcReT", "line 1, column 6: the line goes on after the value"),
            ("A=\"sEc\\ReT\"", "line 1, column 8: A: a backslash is before"),
        ] {
            let fault = read(text.as_bytes()).map(|_| ()).unwrap_err().to_string();
            assert!(fault.starts_with(told) && !fault.contains("sEc"), "{text:?}: {fault}");
        }
    }
}

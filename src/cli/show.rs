//! `--show`: draws a picture in the terminal, by the protocol of kitty, that of iTerm2, or as sixels.
//!
//! Which of them a terminal speaks is told by the environment that it sets. Asking the terminal itself would be surer, but the
//! answer comes as input, and has to be waited for where no answer comes.

mod sixel;

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use base64::{Engine, engine::general_purpose::STANDARD};

use reverie_dream::spec::Format;
use reverie_picture::{self as picture, Encoding, Picture, PictureError};

/// Width and height in pixels of what is shown where the terminal does not tell its own.
const FRAME: (u32, u32) = (640, 480);

/// Bytes of base64 in one part of kitty's protocol.
const PART: usize = 4096;

/// A terminal that shows pictures.
pub(super) struct Screen {
    protocol: Protocol,
    /// Whether it is reached by stderr, because standard output leads elsewhere.
    on_stderr: bool,
    /// Width and height in pixels that a picture may take.
    frame: (u32, u32),
}

/// How a picture is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    /// <https://sw.kovidgoyal.net/kitty/graphics-protocol/>
    Kitty,
    /// <https://iterm2.com/documentation-images.html>
    Iterm,
    /// See [`sixel`].
    Sixel,
}

impl Screen {
    /// The terminal of this process, if pictures are `wanted` and it shows some; otherwise a note says why there are none.
    /// `takes_output` says that standard output takes the file itself.
    pub(super) fn wanted(wanted: bool, takes_output: bool) -> Option<Self> {
        if !wanted {
            return None;
        }
        let on_stderr = takes_output || !io::stdout().is_terminal();
        if on_stderr && !io::stderr().is_terminal() {
            eprintln!("note: --show: neither standard output nor standard error is a terminal");
            return None;
        }
        match Protocol::of(|name| env::var(name).ok()) {
            Ok(protocol) => Some(Self { protocol, on_stderr, frame: frame(on_stderr).unwrap_or(FRAME) }),
            Err(reason) => {
                eprintln!("note: --show: {reason}");
                None
            }
        }
    }

    /// Shows the picture in a file of this format, of an animation the first frame. A failure is no more than a note: the file is
    /// there.
    pub(super) fn show(&self, file: &[u8], format: Format) {
        let sequence = self.small(file, format).and_then(|picture| self.protocol.sequence(&picture));
        let shown = sequence.map_err(|error| error.to_string()).and_then(|sequence| {
            let written = match self.on_stderr {
                true => io::stderr().lock().write_all(&sequence),
                false => {
                    let mut out = io::stdout().lock();
                    out.write_all(&sequence).and_then(|()| out.flush())
                }
            };
            written.map_err(|error| error.to_string())
        });
        if let Err(error) = shown {
            eprintln!("note: --show: {error}");
        }
    }

    /// The picture as it fits on the screen.
    fn small(&self, file: &[u8], format: Format) -> Result<Picture, PictureError> {
        let (width, height) = self.frame;
        let first =
            format.is_video().then(|| picture::first_frame(file, format, width.max(height))).transpose()?;
        let file = first.as_deref().unwrap_or(file);
        // The file is the program's own.
        picture::decode(file, u64::MAX)?.fitted(width, height)
    }
}

impl Protocol {
    /// What the terminal speaks, by its environment.
    ///
    /// # Errors
    /// Why nothing can be shown.
    fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, &'static str> {
        let get = |name: &str| variable(name).unwrap_or_default();
        let (term, program) = (get("TERM"), get("TERM_PROGRAM"));
        // They keep what is behind them to themselves, and the variables of the terminal that they were started in.
        if !get("TMUX").is_empty()
            || !get("STY").is_empty()
            || term.starts_with("screen")
            || term.starts_with("tmux")
        {
            return Err("tmux and screen do not pass pictures on; use a window of the terminal itself");
        }
        if ["xterm-kitty", "xterm-ghostty"].contains(&&*term)
            || program == "ghostty"
            || !get("KITTY_WINDOW_ID").is_empty()
            || !get("KONSOLE_VERSION").is_empty()
        {
            return Ok(Self::Kitty);
        }
        if ["iTerm.app", "WezTerm", "mintty"].contains(&&*program) || get("LC_TERMINAL") == "iTerm2" {
            return Ok(Self::Iterm);
        }
        if ["foot", "mlterm", "contour"].iter().any(|name| term.starts_with(name))
            || !get("WT_SESSION").is_empty()
        {
            return Ok(Self::Sixel);
        }
        Err(
            "this terminal is not known to show pictures; kitty, Ghostty, Konsole, WezTerm, iTerm2, mintty, foot, mlterm, \
             Contour and Windows Terminal are",
        )
    }

    /// What is written to the terminal to show a picture, and a new line after it.
    fn sequence(self, picture: &Picture) -> Result<Vec<u8>, PictureError> {
        let png = || picture.encode(Encoding { format: Format::Png, quality: 100, lossless: true });
        let mut sequence = match self {
            Self::Kitty => kitty(&png()?),
            Self::Iterm => iterm(&png()?),
            Self::Sixel => sixel::sequence(picture),
        };
        sequence.push(b'\n');
        Ok(sequence)
    }
}

fn kitty(png: &[u8]) -> Vec<u8> {
    let encoded = STANDARD.encode(png);
    let mut sequence = Vec::with_capacity(encoded.len() + encoded.len() / 64 + 64);
    let mut parts = encoded.as_bytes().chunks(PART).peekable();
    // Show a PNG, and answer nothing: the answer would be typed at the next prompt.
    let mut keys = "a=T,f=100,q=2,";
    while let Some(part) = parts.next() {
        let more = u8::from(parts.peek().is_some());
        sequence.extend_from_slice(format!("\x1b_G{keys}m={more};").as_bytes());
        sequence.extend_from_slice(part);
        sequence.extend_from_slice(b"\x1b\\");
        keys = "";
    }
    sequence
}

fn iterm(png: &[u8]) -> Vec<u8> {
    let head = format!("\x1b]1337;File=inline=1;size={};preserveAspectRatio=1:", png.len());
    [head.as_bytes(), STANDARD.encode(png).as_bytes(), b"\x07"].concat()
}

/// Pixels of the terminal's window, with a quarter of its height left to text; `None` where it does not tell.
fn frame(on_stderr: bool) -> Option<(u32, u32)> {
    #[cfg(unix)]
    {
        use rustix::termios::tcgetwinsize;
        let size = if on_stderr { tcgetwinsize(io::stderr()) } else { tcgetwinsize(io::stdout()) }.ok()?;
        let (width, height) = (u32::from(size.ws_xpixel), u32::from(size.ws_ypixel) * 3 / 4);
        (width > 0 && height > 0).then_some((width, height))
    }
    #[cfg(not(unix))]
    {
        let _ = on_stderr;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_known_by_its_environment() {
        let of = |given: &[(&str, &str)]| {
            let find = |name: &str| given.iter().find(|(known, _)| *known == name);
            Protocol::of(|name| find(name).map(|(_, value)| (*value).to_owned()))
        };
        for kitty in [
            &[("TERM", "xterm-kitty")][..],
            &[("TERM", "xterm-ghostty"), ("TERM_PROGRAM", "ghostty")],
            &[("TERM", "xterm-256color"), ("KONSOLE_VERSION", "230800")],
        ] {
            assert_eq!(of(kitty), Ok(Protocol::Kitty), "{kitty:?}");
        }
        for iterm in [&[("TERM_PROGRAM", "WezTerm")][..], &[("LC_TERMINAL", "iTerm2")]] {
            assert_eq!(of(iterm), Ok(Protocol::Iterm), "{iterm:?}");
        }
        for sixel in [&[("TERM", "foot")][..], &[("TERM", "xterm-256color"), ("WT_SESSION", "0198c0de")]] {
            assert_eq!(of(sixel), Ok(Protocol::Sixel), "{sixel:?}");
        }
        for none in [
            &[][..],
            &[("TERM", "xterm-256color")],
            &[("TERM", "tmux-256color"), ("KITTY_WINDOW_ID", "1")],
            &[("TMUX", "/tmp/tmux-0/default,1,0"), ("TERM_PROGRAM", "WezTerm")],
        ] {
            assert!(of(none).is_err(), "{none:?}");
        }
    }

    #[test]
    fn a_picture_is_sent_whole_and_in_parts() {
        let png: Vec<u8> = (0..10_000_u32).map(|index| (index % 251) as u8).collect();
        let kitty = String::from_utf8(kitty(&png)).unwrap();
        let parts: Vec<&str> = kitty.split_terminator("\x1b\\").collect();
        assert_eq!(parts.len(), STANDARD.encode(&png).len().div_ceil(PART));
        assert!(parts[0].starts_with("\x1b_Ga=T,f=100,q=2,m=1;"), "{}", &parts[0][..30]);
        assert!(parts[1].starts_with("\x1b_Gm=1;") && parts[parts.len() - 1].starts_with("\x1b_Gm=0;"));
        let sent: String = parts.iter().filter_map(|part| Some(part.split_once(';')?.1)).collect();
        assert_eq!(STANDARD.decode(sent).unwrap(), png);
        let iterm = String::from_utf8(iterm(&png)).unwrap();
        let sent = iterm.strip_prefix("\x1b]1337;File=inline=1;size=10000;preserveAspectRatio=1:").unwrap();
        assert_eq!(STANDARD.decode(sent.strip_suffix("\x07").unwrap()).unwrap(), png);
    }
}

//! `hedgerow top`: what the live page shows, in a terminal.
//!
//! * `told` what the edge tells; `screen` and `backends` that as lines; `line` words with a colour
//! * `terminal` the lines on a screen, and keys
//!
//! One thread asks and one draws, so that a key works at once even where the edge does not answer.

mod backends;
mod line;
mod screen;
mod terminal;
mod told;

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Duration;

use clap::Args;

use self::screen::View;
use self::terminal::{Key, Terminal};
use self::told::Told;
use super::{print, say};
use crate::{ask, clock};

/// How often the edge is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How long to wait for a key before it is looked whether there is news.
const NAP: Duration = Duration::from_millis(100);
/// The width where there is no terminal to ask.
const WIDTH: usize = 132;

/// What is asked, of whom.
#[derive(Debug, Args)]
pub(super) struct Top {
    /// The admin address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
    /// Print once as text and exit, as it also does where standard output is no terminal
    #[arg(long)]
    once: bool,
}

impl Top {
    /// Asks, and shows.
    pub(super) fn run(self) -> ExitCode {
        let shown = match self.once || !std::io::stdout().is_terminal() {
            true => self.once(),
            false => self.watch(),
        };
        shown.unwrap_or_else(|why| {
            say(&format!("hedgerow: {}: {why}\n", self.admin));
            ExitCode::FAILURE
        })
    }

    fn once(&self) -> Result<ExitCode, String> {
        let told = told(self.admin)?;
        let lines = screen::body(&told, &View::new(self.admin), WIDTH);
        let text: String = lines.iter().map(|line| line.plain(usize::MAX) + "\n").collect();
        Ok(print(&text))
    }

    fn watch(&self) -> Result<ExitCode, String> {
        // Who is not there at all is told before the screen is taken.
        let mut newest = told(self.admin)?;
        let news = listen(self.admin);
        let mut view = View::new(self.admin);
        let mut heard = clock::now();
        let failed = |e: std::io::Error| format!("the terminal cannot be used: {e}");
        let mut terminal = Terminal::open().map_err(failed)?;
        loop {
            view.silent_for = clock::now().since(heard);
            let (width, height) = terminal.size();
            let lines = screen::whole(&newest, &mut view, width, height);
            terminal.paint(&lines, width).map_err(failed)?;
            if let Some(key) = terminal.key(NAP).map_err(failed)? {
                match key {
                    Key::Quit => return Ok(ExitCode::SUCCESS),
                    Key::Sort => view.sort = view.sort.next(),
                    Key::Pause => view.is_paused = !view.is_paused,
                    Key::Up(lines) => view.scroll = view.scroll.saturating_sub(lines),
                    Key::Down(lines) => view.scroll = view.scroll.saturating_add(lines),
                    Key::Other => {}
                }
            }
            loop {
                match news.try_recv() {
                    Ok(Ok(told)) => {
                        heard = clock::now();
                        view.lost = None;
                        if !view.is_paused {
                            newest = told;
                        }
                    }
                    Ok(Err(why)) => view.lost = Some(why),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
        }
    }
}

/// Asks again and again until nobody listens.
fn listen(admin: SocketAddr) -> Receiver<Result<Told, String>> {
    let (tell, news) = mpsc::channel();
    thread::spawn(move || {
        while tell.send(told(admin)).is_ok() {
            thread::park_timeout(EVERY);
        }
    });
    news
}

fn told(admin: SocketAddr) -> Result<Told, String> {
    let answer = ask::ask(admin, "GET", "/live.json", None).map_err(|e| e.to_string())?;
    if !answer.is_success() {
        return Err(format!("answered {} to /live.json", answer.status));
    }
    serde_json::from_str(&answer.body).map_err(|e| format!("told what is not understood here: {e}"))
}

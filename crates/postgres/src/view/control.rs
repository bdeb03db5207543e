//! What is said to the process that shows a view: one line of JSON each way, over a socket that only its owner
//! reaches.

use super::place::{Place, SOCKET_FILE};
use super::show::{Status, View};
use crate::fetch::wire::{address, read_line, write_line};
use lifeboat_base::error_chain;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::BufReader;
use tokio::net::{UnixListener, UnixStream};

/// How long an answer that costs nothing may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// And one for which all of the view may have to be written to its disk.
const END_LIMIT: Duration = Duration::from_secs(60 * 60);
/// Between two looks whether the view was unmounted by somebody else.
const LOOK: Duration = Duration::from_secs(1);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// How far it is.
    Status,
    /// Fetch all that is not here yet.
    Hydrate,
    /// Become a plain data directory, and end.
    Finish,
    /// Be shown no more, and end.
    Hide,
}

/// What is answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Done, or begun; and how far it is.
    Done(Status),
    /// It could not be done: for people.
    Refused(String),
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is a plain data directory.
    Finished,
    /// It can be shown again.
    Hidden,
}

/// Why a view did not answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("no process shows the view at {}", .0.display())]
    NotShown(PathBuf),
    /// It broke off.
    #[error("the process that shows {} did not answer", path.display())]
    Silent {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It would not.
    #[error("{0}")]
    Refused(String),
}

impl Request {
    /// How long the answer may take: some are about much that has to be written.
    fn limit(self) -> Duration {
        match self {
            Self::Status | Self::Hydrate => ANSWER_LIMIT,
            Self::Finish | Self::Hide => END_LIMIT,
        }
    }
}

/// Asks the process that shows the view.
///
/// # Errors
/// [`AskError`].
pub async fn ask(place: &Place, request: Request) -> Result<Status, AskError> {
    let silent = |source| AskError::Silent { path: place.mount.clone(), source };
    let not_shown = |_| AskError::NotShown(place.mount.clone());
    let (path, _directory) = address(&place.home.join(SOCKET_FILE)).map_err(not_shown)?;
    let mut stream = BufReader::new(UnixStream::connect(&path).await.map_err(not_shown)?);
    let answered = async {
        write_line(&mut stream, &request).await?;
        read_line(&mut stream).await
    };
    let answered = tokio::time::timeout(request.limit(), answered).await;
    match answered.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())).map_err(silent)? {
        Answer::Done(status) => Ok(status),
        Answer::Refused(why) => Err(AskError::Refused(why)),
    }
}

/// Where to listen; bound before anybody is told that the view is there.
///
/// # Errors
/// Those of the file system.
pub fn listen(place: &Place) -> std::io::Result<UnixListener> {
    let path = place.home.join(SOCKET_FILE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (short, _directory) = address(&path)?;
    let listener = UnixListener::bind(&short)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until the view is finished or hidden.
pub async fn serve(view: &Arc<View>, listener: UnixListener) -> End {
    let (end, mut ended) = tokio::sync::mpsc::channel(1);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            end = ended.recv() => return end.unwrap_or(End::Hidden),
            () = tokio::time::sleep(LOOK) => {
                if view.is_gone() {
                    return End::Hidden;
                }
                continue;
            }
        };
        let Ok((stream, _)) = accepted else { continue };
        let (view, end) = (view.clone(), end.clone());
        tokio::spawn(async move {
            // Whoever asked has gone: then nobody is there to be told.
            let _ = answer(&view, stream, &end).await;
        });
    }
}

async fn answer(
    view: &Arc<View>,
    stream: UnixStream,
    end: &tokio::sync::mpsc::Sender<End>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let asked: Request = read_line(&mut stream).await?;
    let worker = view.clone();
    let (done, how) = match asked {
        Request::Status => (Ok(()), None),
        Request::Hydrate => {
            // What came of it stands in the status.
            if worker.begin_hydrating() {
                tokio::spawn(async move { worker.hydrate_begun().await });
            }
            (Ok(()), None)
        }
        Request::Finish => (tokio::task::spawn_blocking(move || worker.finish()).await?, Some(End::Finished)),
        Request::Hide => (tokio::task::spawn_blocking(move || worker.hide()).await?, Some(End::Hidden)),
    };
    let answer = match &done {
        Ok(()) => {
            // It looks at each file.
            let view = view.clone();
            Answer::Done(tokio::task::spawn_blocking(move || view.status()).await?)
        }
        Err(error) => Answer::Refused(error_chain(error)),
    };
    let written = write_line(&mut stream, &answer).await;
    if let (Ok(()), Some(how)) = (done, how) {
        // The receiver is there as long as anybody is served.
        let _ = end.send(how).await;
    }
    written
}

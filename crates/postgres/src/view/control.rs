//! What is said to the process that shows a view: one line of JSON each way, over a socket that only its owner
//! reaches.

use super::show::{Status, View, ViewError};
use super::place::Place;
use lifeboat_base::error_chain;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// The socket, in the directory behind the view.
const SOCKET: &str = "socket";
/// Bytes of a request or an answer at most.
const LIMIT_BYTES: u64 = 64 << 10;
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

/// Asks the process that shows the view.
///
/// # Errors
/// [`AskError`].
pub async fn ask(place: &Place, request: Request) -> Result<Status, AskError> {
    let silent = |source| AskError::Silent { path: place.mount.clone(), source };
    let connected = UnixStream::connect(place.home.join(SOCKET)).await;
    let mut stream = connected.map_err(|_| AskError::NotShown(place.mount.clone()))?;
    let mut line = serde_json::to_vec(&request).expect("a word serialises");
    line.push(b'\n');
    stream.write_all(&line).await.map_err(silent)?;
    let mut text = String::new();
    BufReader::new(stream.take(LIMIT_BYTES)).read_line(&mut text).await.map_err(silent)?;
    match serde_json::from_str(&text).map_err(|error| silent(error.into()))? {
        Answer::Done(status) => Ok(status),
        Answer::Refused(why) => Err(AskError::Refused(why)),
    }
}

/// Where to listen; bound before anybody is told that the view is there.
///
/// # Errors
/// Those of the file system.
pub fn listen(place: &Place) -> std::io::Result<UnixListener> {
    let path = place.home.join(SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until the view is finished or hidden. `failed` is told what fetching came to if it came to nothing.
pub async fn serve(view: Arc<View>, listener: UnixListener, failed: impl Fn(ViewError) + Send + Sync + 'static) -> End {
    let failed = Arc::new(failed);
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
        let (view, end, failed) = (view.clone(), end.clone(), failed.clone());
        tokio::spawn(async move {
            // Whoever asked has gone: then nobody is there to be told.
            let _ = answer(&view, stream, &end, failed).await;
        });
    }
}

async fn answer(
    view: &Arc<View>,
    mut stream: UnixStream,
    end: &tokio::sync::mpsc::Sender<End>,
    failed: Arc<impl Fn(ViewError) + Send + Sync + 'static>,
) -> std::io::Result<()> {
    let mut text = String::new();
    BufReader::new((&mut stream).take(LIMIT_BYTES)).read_line(&mut text).await?;
    let asked: Request = serde_json::from_str(&text)?;
    let worker = view.clone();
    let (done, how) = match asked {
        Request::Status => (Ok(()), None),
        Request::Hydrate => {
            tokio::spawn(async move {
                if let Err(error) = worker.hydrate().await {
                    failed(error);
                }
            });
            (Ok(()), None)
        }
        Request::Finish => {
            (tokio::task::spawn_blocking(move || worker.finish()).await?, Some(End::Finished))
        }
        Request::Hide => (tokio::task::spawn_blocking(move || worker.hide()).await?, Some(End::Hidden)),
    };
    let answer = match &done {
        Ok(()) => Answer::Done(view.status()),
        Err(error) => Answer::Refused(error_chain(error)),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    let written = stream.write_all(&line).await;
    if let (Ok(()), Some(how)) = (done, how) {
        // The receiver is there as long as anybody is served.
        let _ = end.send(how).await;
    }
    written
}

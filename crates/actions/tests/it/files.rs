//! Files that are replaced, and put back.

use crate::hands::{World, action, failed, step, under};
use lifeboat_core::run::{Actions, Circumstances, Found, Observed, Outcome, Side};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn put(path: &Path, content: &str) -> Value {
    action("files.put", json!({"path": path, "content": content, "mode": "0640"}))
}

fn read(path: &Path) -> Option<(String, u32)> {
    let text = std::fs::read_to_string(path).ok()?;
    Some((text, std::fs::metadata(path).unwrap().permissions().mode() & 0o7777))
}

#[tokio::test]
async fn w1_w2_a_file_is_replaced_whole_and_comes_back_as_it_was() {
    let world = World::new();
    let path = world.directory.path().join("app.conf");
    for before in [None, Some("old")] {
        if let Some(text) = before {
            std::fs::write(&path, text).unwrap();
        }
        let was = read(&path);
        let does = put(&path, "new\n");
        let told = world.probe(does.clone()).await;
        assert_eq!(told.result, Found::NotDone);
        assert!(world.verify(does.clone()).await.result.is_some());
        // Twice is as once.
        for _ in 0..2 {
            assert_eq!(world.act(does.clone()).await.result, Outcome::Done);
            assert_eq!(read(&path), Some(("new\n".to_owned(), 0o640)));
        }
        assert_eq!(world.probe(does.clone()).await.result, Found::Done);
        assert_eq!(world.verify(does.clone()).await.result, None);
        for _ in 0..2 {
            let undone = world.undo(does.clone(), told.observed.clone()).await;
            assert_eq!(undone.result, Outcome::Done, "{undone:?}");
            assert_eq!(read(&path), was);
        }
    }
    let names: Vec<_> = std::fs::read_dir(world.directory.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "nothing else is left: {names:?}");
}

#[tokio::test]
async fn w2_what_is_not_known_or_was_changed_since_is_not_put_back() {
    let world = World::new().with("DB_PASSWORD", "s3cret-w0rd");
    let path = world.directory.path().join("app.conf");
    let does = put(&path, "new");
    let before = async |text: &str| {
        std::fs::write(&path, text).unwrap();
        world.probe(does.clone()).await.observed
    };
    let undo = async |before: Observed| {
        let under = Circumstances { before, ..under() };
        world.hands().act(&step(does.clone()), Side::Undo, under).await.unwrap()
    };
    assert!(failed(&undo(Observed::new()).await).contains("not remembered"));
    assert!(failed(&undo(before(&"x".repeat(70_000)).await).await).contains("larger than 64 KiB"));
    let secret = before("password: s3cret-w0rd").await;
    assert!(!format!("{secret:?}").contains("czNjcmV0"));
    assert!(failed(&undo(secret).await).contains("holds a secret"));
    let before = before("old").await;
    std::fs::write(&path, "someone else's").unwrap();
    assert!(failed(&undo(before).await).contains("changed since"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "someone else's");
}

#[tokio::test]
async fn w1_a_link_stays_and_what_cannot_be_written_leaves_all_as_it_was() {
    let world = World::new();
    let (file, link) = (world.directory.path().join("file"), world.directory.path().join("link"));
    std::fs::write(&file, "old").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert_eq!(world.act(put(&link, "new")).await.result, Outcome::Done);
    assert!(link.is_symlink() && std::fs::read_to_string(&file).unwrap() == "new");
    let told = world.act(put(Path::new("/no/such/directory/file"), "x")).await;
    assert!(failed(&told).contains("is not written"));
    let copy = action("files.put", json!({"path": world.directory.path().join("copy"), "from": file}));
    assert_eq!(world.act(copy).await.result, Outcome::Done);
    let copied = read(&world.directory.path().join("copy"));
    assert_eq!(copied, Some(("new".to_owned(), 0o600)));
}

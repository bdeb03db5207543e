//! What tests start in place of Lifeboat: without arguments it watches over commands; with a step in JSON, a workspace
//! and its own path it is whoever carries the step out, to be killed.

use lifeboat_actions::{Hands, Tools};
use lifeboat_core::run::{Actions, BoundStep, Circumstances, Side};
use std::collections::BTreeMap;
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [step, workspace, program] = &arguments[..] else {
        lifeboat_actions::supervise().await?;
        return Ok(());
    };
    let step: BoundStep = serde_json::from_str(step)?;
    let hands = Hands::new(Tools {
        supervisor: vec![program.into()],
        workspace: workspace.into(),
        environment: std::env::vars().collect(),
        lines: Arc::new(|_, _| ()),
    });
    let under =
        Circumstances { run: "run-1".to_owned(), fence: 7, before: BTreeMap::new(), known: BTreeMap::new() };
    hands.act(&step, Side::Act, under).await?;
    Ok(())
}

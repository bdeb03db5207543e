//! What belongs to no service: the header, the keys, plans, the journal's objects; and strays.

use super::examine::{Examiner, Group, Object};
use super::kind::{Kind, is_ours};
use super::{CheckError, FindingKind};
use crate::names;
use lifeboat_base::ServiceName;

/// Looks at everything outside the services.
pub(super) async fn top(examiner: &mut Examiner<'_>) -> Result<(), CheckError> {
    for child in examiner.children("").await {
        if !is_ours(&child) {
            let what = "Lifeboat writes nothing of that name; it was left alone".to_owned();
            examiner.find(FindingKind::Stray, None, &child, what);
        }
    }
    let header = Kind::Header(examiner.vault().header().clone());
    let (name, sizes) = examiner.list_one(names::VAULT_HEADER).await;
    examiner.examine(vec![Object { name, kind: header, sizes, expected: None }], &|_| false).await?;
    let keys = examiner.list(names::KEYS).await;
    examiner.examine(objects(keys, |_| Kind::Key), &|_| false).await?;
    // Leases are the home's alone.
    for prefix in ["plans", "journal"] {
        let group = examiner.list(prefix).await;
        examiner.examine(objects(group, |_| Kind::Sealed(None)), &|_| false).await?;
    }
    Ok(())
}

pub(super) fn objects(group: Group, kind: impl Fn(&str) -> Kind) -> Vec<Object> {
    let object = |(name, sizes): (String, _)| Object { kind: kind(&name), name, sizes, expected: None };
    group.into_iter().map(object).collect()
}

/// The services that the vault holds something of.
pub(super) async fn services(examiner: &mut Examiner<'_>) -> Vec<ServiceName> {
    let mut services = Vec::new();
    for child in examiner.children("services").await {
        let name = child.rsplit('/').next().unwrap_or_default();
        match name.parse() {
            Ok(service) => services.push(service),
            Err(_) => {
                let what = "no service can have that name; it was left alone".to_owned();
                examiner.find(FindingKind::Stray, None, &child, what);
            }
        }
    }
    services
}

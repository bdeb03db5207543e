//! Whose word counts in a run.
//!
//! Where the plan names approvers, a word is one of theirs and is signed with one of their keys, as `ssh-keygen -Y
//! sign` does it; where it names nobody, every word counts, and nothing in the run needs an approval.

use super::{Begun, Request, RunId};
use lifeboat_plan::Approver;

/// What a signature is for: one made for something else is none here.
pub const NAMESPACE: &str = "lifeboat-run";

/// What is signed to begin a run.
#[must_use]
pub fn beginning(id: &RunId, begun: &Begun) -> String {
    let Begun { runbook, plan_hash, target, requester, .. } = begun;
    let words = serde_json::json!({
        "request": "start", "runbook": runbook, "planHash": plan_hash, "target": target, "by": requester,
    });
    format!("lifeboat run {id}\n{words}\n")
}

/// What is signed to say something to a run.
#[must_use]
pub fn statement(id: &RunId, request: &Request) -> String {
    let words = serde_json::to_value(request).expect("names and texts serialise");
    format!("lifeboat run {id}\n{words}\n")
}

/// Why a word does not count, or nothing.
pub(super) fn check(
    approvers: &[Approver],
    by: &str,
    statement: &str,
    signature: Option<&str>,
) -> Result<(), String> {
    if approvers.is_empty() {
        return Ok(());
    }
    let Some(approver) = approvers.iter().find(|approver| approver.name == by) else {
        return Err(format!("{by} is none of the approvers that the plan named when the run began"));
    };
    let Some(signature) = signature else {
        return Err(format!("a word of {by} came without a signature"));
    };
    let has_signed = |key: &lifeboat_plan::SshKey| key.has_signed(NAMESPACE, statement.as_bytes(), signature);
    match approver.keys.iter().any(has_signed) {
        true => Ok(()),
        false => {
            Err(format!("the signature is not that of {by}: no key of that name made it for these words"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_core::run::StepNumber;

    // Made by `ssh-keygen -Y sign -n lifeboat-run` of OpenSSH 9.2 over STATEMENT; the last for the namespace `git`.
    const STATEMENT: &str = "lifeboat run 20261122t031500z-1f2e3d4c\n{\"by\":\"Ana\",\"request\":\"approve\",\"shown\":\"9f\",\"step\":2}\n";
    const ANA: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBe4tTJtUga49QoxX6mi3Ux5DXEtxRPK0ePx3+zwAa9K ana";
    const BO: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBG1/Y0vV6P39XsyHE8FML3HxQcmQMOXgVhP1R1mS5KHiArUilVf59Kc0KyXFCYGPx8it93pq2GPLO8Ju+1wIICw= bo";
    const OF_ANA: &str = "-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgF7i1Mm1SBrj1CjFfqaLdTHkNcS\n3FE8rR4/Hf7PABr0oAAAAMbGlmZWJvYXQtcnVuAAAAAAAAAAZzaGE1MTIAAABTAAAAC3Nz\naC1lZDI1NTE5AAAAQJdDAK3Bx2MrUUmoulMXSsM1dbOFdXTixPfWzMEjPJamilW+Zgeqhu\nqwQJtTvGo/MnzVssT66jAUp7XRK1SFsAA=\n-----END SSH SIGNATURE-----\n";
    const OF_BO: &str = "-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAQAAAGgAAAATZWNkc2Etc2hhMi1uaXN0cDI1NgAAAAhuaXN0cDI1NgAAAE\nEEbX9jS9Xo/f1ezIcTwUwvcfFByZAw5eBWE/VHWZLkoeICtSKVV/n0pzQrJcUJgY/HyK33\nemrYY8s7wm77XAggLAAAAAxsaWZlYm9hdC1ydW4AAAAAAAAABnNoYTUxMgAAAGUAAAATZW\nNkc2Etc2hhMi1uaXN0cDI1NgAAAEoAAAAhANjJ7ah0tsr5JdT3DI3d/Fwd+DpCl8+y9gyH\nZCrJ8kAnAAAAIQCZ28AIGx27KVIbrKBxaMR9cZNenKTFFTRPUdN/LjOx6Q==\n-----END SSH SIGNATURE-----\n";
    const FOR_GIT: &str = "-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgF7i1Mm1SBrj1CjFfqaLdTHkNcS\n3FE8rR4/Hf7PABr0oAAAADZ2l0AAAAAAAAAAZzaGE1MTIAAABTAAAAC3NzaC1lZDI1NTE5\nAAAAQEkGzWC1BDkDtlqqj38dvJ0eGH2ssYUb/4u/o8vTXuTfnhNe611XxbK2PT86KYHd2I\nvlBTNLe3OmSzyf8OSsVQg=\n-----END SSH SIGNATURE-----\n";

    #[test]
    fn y4_a_word_counts_only_with_the_signature_of_whom_it_names() {
        let approver =
            |name: &str, key: &str| Approver { name: name.to_owned(), keys: vec![key.parse().unwrap()] };
        let approvers = [approver("Ana", ANA), approver("Bo", BO)];
        let id = "20261122t031500z-1f2e3d4c".parse().unwrap();
        let request = Request::Approve { step: StepNumber(2), by: "Ana".to_owned(), shown: "9f".to_owned() };
        // The format's documentation promises these bytes.
        assert_eq!(statement(&id, &request), STATEMENT);
        let check = |by, statement, signature| check(&approvers, by, statement, signature);
        check("Ana", STATEMENT, Some(OF_ANA)).unwrap();
        check("Bo", STATEMENT, Some(OF_BO)).unwrap();
        for (by, statement, signature) in [
            ("Ana", STATEMENT, None),
            ("Ana", STATEMENT, Some(OF_BO)),
            ("Bo", STATEMENT, Some(OF_ANA)),
            ("Ana", STATEMENT, Some(FOR_GIT)),
            ("Ana", STATEMENT, Some("no signature")),
            ("Ana", &STATEMENT.replace("\"step\":2", "\"step\":3"), Some(OF_ANA)),
            ("Ana", &STATEMENT.replace("1f2e3d4c", "1f2e3d4d"), Some(OF_ANA)),
            ("Eve", STATEMENT, Some(OF_ANA)),
        ] {
            check(by, statement, signature).unwrap_err();
        }
        // Nobody is named: nobody signs, and nothing needs an approval.
        super::check(&[], "anybody", STATEMENT, None).unwrap();
    }
}

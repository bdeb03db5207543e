//! What tools accept.

use super::*;
use crate::shell::Script;

fn all(text: &str) -> Vec<String> {
    let script = Script::parse(text);
    script
        .commands
        .iter()
        .flat_map(problems)
        .map(|problem| match problem {
            Problem::Subcommand { of, nearest, .. } => {
                format!("{of}: command, {}", nearest.unwrap_or_default())
            }
            Problem::Unknown { option, of, nearest, .. } => {
                format!("{of}: {option}, {}", nearest.unwrap_or_default())
            }
            Problem::Missing { option, of } => format!("{of}: needs {option}"),
        })
        .collect()
}

#[track_caller]
fn takes(text: &str) {
    assert_eq!(all(text), [] as [String; 0], "{text}");
}

#[test]
fn what_is_right_is_taken() {
    for text in [
        "kubectl get po,svc -n x -o wide -w",
        "kubectl exec -it deploy/x -n x -- psql -U y --nothing",
        "kubectl -n x rollout restart deploy/x",
        "kubectl logs -f x --since 5m",
        "kubectl create secret generic x --from-literal=a=b --dry-run=client -oyaml",
        "kubectl create -f x.yaml",
        "kubectl set image deploy/x a=b:1",
        "kubectl apply -k . --server-side",
        "kubectl config use-context x",
        "kubectl krew install x",
        "kubectl $VERB pods",
        "kubectl top pods --sort-by=cpu",
        "helm upgrade --install x ./y -f z.yaml --set a=b --atomic --wait --timeout 5m",
        "helm diff upgrade x y",
        "helm repo add a https://b",
        "aws s3 cp a s3://b --sse --no-progress",
        "aws rds wait db-instance-available --db-instance-identifier x",
        "aws --region eu-west-1 rds describe-db-instances --query 'a' --output text",
        "aws configure set region x",
        "aws s3api list-objects-v2 --bucket b --no-paginate",
        "aws rds restore-db-instance-to-point-in-time --target-db-instance-identifier a --source-db-instance-identifier b --use-latest-restorable-time",
        "aws logs tail x --follow",
        "aws sso login --profile x",
        "gcloud sql backups restore 1 --restore-instance=x --quiet",
        "gcloud container clusters get-credentials x --zone y --project z",
        "gcloud beta anything here --x",
        "gcloud logging read 'a' --limit=5 --format=json",
        "gcloud compute instances list --filter=x",
        "gsutil -m rsync -r -d gs://a gs://b",
        "gsutil cp -r a b",
        "terraform init -backend-config=a=b -reconfigure",
        "terraform -chdir=x plan -out=y",
        "terraform destroy -auto-approve -var-file=x",
        "terraform state list",
        "terraform plan --out y",
        "psql -h x -U y -d z -v ON_ERROR_STOP=1 -tAc 'select 1'",
        "psql --set=a=b --single-transaction -f x",
        "pg_dump -Fc -Z9 -j4 -n public x",
        "pg_restore -d x -j4 --clean --if-exists x.dump",
        "createdb -h x -O y -T template0 --lc-collate=C z",
        "curl -fsSL --retry 3 -o x -H 'a: b' https://y",
        "curl -X POST -d @x https://y",
        "npm ci",
        "npm run build -- --x",
        "npm run-script x",
        "eksctl create cluster -f x",
        "eksctl get nodegroup --cluster x",
        "unknown --x y",
    ] {
        takes(text);
    }
}

#[test]
fn what_is_wrong_is_not() {
    for (text, expected) in [
        ("kubectl gte pods", "kubectl: command, get"),
        ("kubectl rollout restrat deploy/x", "kubectl rollout: command, restart"),
        ("kubectl rollout restart deploy --all", "kubectl rollout restart: --all, "),
        ("kubectl scale deploy x --replica=3", "kubectl scale: --replica, --replicas"),
        ("gcloud container clusters repair x", "gcloud container clusters: command, "),
        ("gcloud sql backup list", "gcloud sql: command, backups"),
        ("aws rds promote-replica --x", "aws rds: command, "),
        ("aws rds promote-read-replica", "aws rds promote-read-replica: needs --db-instance-identifier"),
        ("aws s3 copy a b", "aws s3: command, "),
        ("terraform aply", "terraform: command, apply"),
        ("terraform apply -auto-aprove", "terraform apply: -auto-aprove, -auto-approve"),
        ("helm instal x y", "helm: command, install"),
        ("helm repo ad x y", "helm repo: command, add"),
        ("pg_restore --dbnme=x y", "pg_restore: --dbnme, --dbname"),
        ("curl --fial https://x", "curl: --fial, "),
        ("npm isntal-all", "npm: command, "),
        ("eksctl create clusters -f x", "eksctl create: command, cluster"),
        ("psql -Y", "psql: -Y, "),
        ("gsutil rsink a b", "gsutil: command, rsync"),
    ] {
        let found = all(text);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text}: {found:?}");
    }
}

#[test]
fn t1_what_is_a_placeholder_or_not_covered_has_no_problem() {
    takes("kubectl <verb> --nonsense");
    takes("aws rds promote-read-replica $ARGS");
    takes("aws braket anything --x");
    takes("kubectl plugin whatever --x");
    takes("gcloud [GROUP] x");
}

#[test]
fn every_tool_has_a_version_and_commands_or_options() {
    for tool in &TOOLS {
        assert!(version(tool.name).is_some_and(|version| version.contains('.')), "{}", tool.name);
        assert!(tool.line("global").is_some() && tool.data.lines().count() >= 3, "{}", tool.name);
    }
}

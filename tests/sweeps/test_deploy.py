"""The deployment files are what their readers accept, and say what the docs promise."""

import re
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from sweeps.arguments import parser
from sweeps.studies import study_names

DEPLOY = Path(__file__).parents[2] / "deploy"


def read(name):
    return yaml.safe_load((DEPLOY / name).read_text())


def test_ray_accepts_the_cluster():
    config = prepare_config(read("aws-cluster.yaml"))
    validate_config(config)
    workers = config["available_node_types"]["gpu_spot"]
    assert workers["min_workers"] == 0 < workers["max_workers"]
    assert workers["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    for command in (*config["head_start_ray_commands"], *config["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token" in command or command == "ray stop"
    assert any("--dashboard-host=127.0.0.1" in c for c in config["head_start_ray_commands"])


def test_ray_refuses_a_cluster_with_an_unknown_field():
    config = prepare_config(read("aws-cluster.yaml")) | {"max_worker": 3}
    with pytest.raises(Exception, match="max_worker"):
        validate_config(config)


def test_the_job_runs_a_command_that_there_is():
    job = read("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    words = job["spec"]["entrypoint"].split()
    assert words[:3] == ["python", "-m", "sweeps"]
    arguments = parser().parse_args(words[3:])
    assert arguments.verb == "sweep" and arguments.study in study_names()
    cluster = job["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    assert cluster["enableInTreeAutoscaling"] and workers["minReplicas"] == 0
    # By KubeRay, which gives the token to the operator's own requests and the autoscaler, too.
    assert cluster["authOptions"] == {"mode": "token", "secretName": "ray-token"}
    for group in (cluster["headGroupSpec"], workers):
        (container,) = group["template"]["spec"]["containers"]
        assert "RAY_AUTH_MODE" not in {variable["name"] for variable in container["env"]}
        assert container["volumeMounts"][0]["mountPath"] == "/shared"


def test_mlflow_and_what_it_stands_on_are_on_loopback_only():
    services = read("mlflow/compose.yaml")["services"]
    ports = {name: service.get("ports", []) for name, service in services.items()}
    assert ports.pop("mlflow") == ["127.0.0.1:5000:5000"]
    assert not any(ports.values())
    for needs in services["mlflow"]["depends_on"]:
        assert needs in services


def test_the_lines_that_start_a_sweep_on_a_cluster_join_it():
    """Else it would start a Ray of its own beside the cluster's."""
    blocks = re.findall(r"```\n(.*?)```", (DEPLOY / "README.md").read_text(), flags=re.DOTALL)
    starting = [block for block in blocks if "make sweep STUDY=" in block]
    assert len(starting) == 2 and all("RAY_ADDRESS=" in block for block in starting)

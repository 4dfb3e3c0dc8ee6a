"""The manifests of examples/kubernetes: Kubernetes' own kinds against its schemas (kubernetes-validate), and what they say of
one another."""
import pathlib
import sys

import kubernetes_validate
import yaml

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "examples/kubernetes"
VERSIONS = ["1.28", "1.33"]


def main():
    files = {file.name: list(yaml.safe_load_all(file.read_text())) for file in sorted(FOLDER.glob("*.yaml"))}
    assert len(files) == 3, list(files)
    checked = 0
    for name, documents in files.items():
        for document in documents:
            # KServe's own kind has no schema there.
            if document["apiVersion"].startswith("serving.kserve.io/"):
                continue
            for version in VERSIONS:
                kubernetes_validate.validate(document, version, strict=True)
                checked += 1
    # The schemas are strict: a misspelt key is noticed.
    slip = files["triton.yaml"][0] | {"spec": files["triton.yaml"][0]["spec"] | {"replica": 3}}
    try:
        kubernetes_validate.validate(slip, VERSIONS[0], strict=True)
        sys.exit("a field that is none was not noticed")
    except kubernetes_validate.ValidationError:
        pass
    deployment, service = files["triton.yaml"]
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    ports = {port["name"] for port in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]}
    assert service["spec"]["ports"][0]["targetPort"] in ports
    inference, by_kserve = files["kserve.yaml"]
    assert by_kserve["spec"]["selector"]["serving.kserve.io/inferenceservice"] == inference["metadata"]["name"]
    assert by_kserve["spec"]["ports"][0]["targetPort"] == inference["spec"]["predictor"]["model"]["ports"][0]["containerPort"]
    line = files["client.yaml"][0]["spec"]["template"]["spec"]["containers"][0]["args"]
    for headless in (service, by_kserve):
        assert headless["spec"]["clusterIP"] == "None"
        address = f'grpc://{headless["metadata"]["name"]}:{headless["spec"]["ports"][0]["port"]}'
        assert f"inference-server={address}" in line
    print(f"{checked} checks of manifests")


main()

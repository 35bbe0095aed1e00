"""A Ray cluster of a head and three nodes on this machine, as a process that obeys: `rm`, then EOF.

python tests/nodes.py FOLDER   prints the address. Node n keeps its images in FOLDER/node<n>;
RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH are its caller's.
"""

import sys

from ray.cluster_utils import Cluster


def main():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "memory": 10**9})
    nodes = [
        cluster.add_node(
            num_cpus=1,
            memory=2 * 10**9,
            env_vars={"SECATEUR_NODE_CACHE": f"{sys.argv[1]}/node{n}"},
        )
        for n in range(3)
    ]
    print("address", cluster.address, flush=True)
    for _ in sys.stdin:
        cluster.remove_node(nodes.pop(), allow_graceful=False)
        print("removed", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()

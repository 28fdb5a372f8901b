"""A Dask cluster: of our own on this machine, or one that is there already. It runs the units of a sweep and the parts of a build.

Dask sends pickles: whoever can connect to a scheduler runs code on its workers and its clients. So a cluster of our own listens on 127.0.0.1
with a certificate made for it, and another one needs ``tls://`` with certificates.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bundle.base.errors import ConfigError, InputError, not_installed
from bundle.base.frozen import faults
from bundle.base.isolated import ROOT

if TYPE_CHECKING:
    from distributed import Client, Future

LOOPBACK = "127.0.0.1"
CONNECT_S = 10
AUTHORITY, CERTIFICATE, PRIVATE = "ca.pem", "cert.pem", "key.pem"


class Places(NamedTuple):
    """Where work runs: ``workers`` of a cluster of our own, a scheduler's address, or with neither this process.

    ``certificates`` is a folder with ca.pem, cert.pem and key.pem, for ``tls://``. ``insecure`` allows ``tcp://``.
    """

    workers: int = 0
    scheduler: str = ""
    certificates: Path | None = None
    insecure: bool = False


def require_places(places: Places) -> None:
    """Do nothing if work may run there.

    Raises:
        ConfigError: two places are named, or the scheduler's address is neither ``tls://`` with certificates nor allowed.
    """
    scheme = places.scheduler.partition("://")[0]
    if places.workers and places.scheduler:
        raise _refused("a sweep runs in one place", "--workers or --scheduler", "both", "leave one of them out")
    if not places.scheduler or (scheme == "tcp" and places.insecure):
        return
    if scheme != "tls":
        raise _refused(
            "this address is open to everyone who reaches it, and who connects runs code on its workers",
            "tls://HOST:PORT with --certificates",
            places.scheduler,
            "start the scheduler with certificates; --insecure allows tcp:// where nobody else reaches the network",
        )
    missing = [name for name in (AUTHORITY, CERTIFICATE, PRIVATE) if not _has(places.certificates, name)]
    if missing:
        raise _refused(
            "tls:// needs certificates",
            f"a folder with {AUTHORITY}, {CERTIFICATE} and {PRIVATE}",
            "no folder" if places.certificates is None else f"no {', '.join(missing)} in {places.certificates}",
            "name the folder with --certificates",
        )


def _has(folder: Path | None, name: str) -> bool:
    return folder is not None and (folder / name).is_file()


def _refused(message: str, expected: str, got: str, fix: str) -> ConfigError:
    return ConfigError(message, expected=expected, got=got, where="the command line", fix=fix)


def send(
    client: "Client", call: Callable[..., object], orders: Mapping[str, tuple[object, ...]], *, priority: int = 0
) -> list["Future[Any]"]:
    """Let the workers call ``call(*order)`` for each order, by its name; those of a higher priority begin first."""
    return client.map(call, *zip(*orders.values(), strict=True), key=list(orders), priority=priority)


def answers(client: "Client", futures: Sequence["Future[Any]"], places: Places) -> Iterator[tuple[str, Any]]:
    """Yield the name of each order that was sent and what its call returned, in the order in which they end.

    None instead of that: every worker that took the order was killed. What the call raises is raised here.

    Raises:
        InputError: the scheduler went away.
    """
    from distributed import as_completed
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    for future in as_completed(futures, loop=client.loop):
        try:
            yield str(future.key), future.result()
        except KilledWorker:
            yield str(future.key), None
        except (FutureCancelledError, OSError) as error:
            if future.status == "error":
                raise
            raise _unreachable(places, error) from error


@contextmanager
def connected(places: Places) -> "Iterator[Client]":
    """Yield a client of the scheduler, or of a cluster of our own that ends with the block.

    Raises:
        InputError: the scheduler cannot be reached.
        TargetUnavailable: Dask is not installed.
    """
    try:
        from distributed import Client, LocalCluster
        from distributed.security import Security
    except ImportError as error:
        raise not_installed("a cluster", "distributed", extra="cluster", where="this Python", error=error) from error
    if places.workers:
        from dask import config

        if str(ROOT) not in sys.path:
            sys.path.append(str(ROOT))  # a worker starts with this path, and takes the checkout off it again
        # A build has this process's environment, as without a cluster. No worker samples its threads while the build times.
        settings = {"distributed.nanny.pre-spawn-environ": {}, "distributed.worker.profile.enabled": False}
        with config.set(settings):
            cluster = LocalCluster(
                n_workers=places.workers,
                threads_per_worker=1,
                host=LOOPBACK,
                protocol="tls://",
                security=Security.temporary(),
                dashboard_address=f"{LOOPBACK}:0",  # None would open the fixed port 8787
                memory_limit=0,
            )
        with cluster, Client(cluster, set_as_default=False) as client:
            yield client
        return
    security = None
    if places.certificates is not None:
        authority, certificate, private = (str(places.certificates / n) for n in (AUTHORITY, CERTIFICATE, PRIVATE))
        security = Security(
            tls_ca_file=authority, tls_client_cert=certificate, tls_client_key=private, require_encryption=True
        )
    try:
        client = Client(places.scheduler, timeout=CONNECT_S, security=security, set_as_default=False)
    except (OSError, ValueError) as error:
        raise _unreachable(places, error) from error
    with client:
        yield client


def _unreachable(places: Places, error: Exception) -> InputError:
    return InputError(
        "the scheduler cannot be reached",
        expected="a Dask scheduler of this version that takes these certificates",
        got=faults(error),
        where=places.scheduler or LOOPBACK,
        fix="correct the address or start the scheduler; what is finished is in the store, and the same command goes on",
    )

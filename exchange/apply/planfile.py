"""A plan to look at before it is carried out: `exchange plan -o` writes it, `exchange apply` takes it.

It holds the changes one by one, and a digest of what was wanted. It is carried out only where what is wanted
is still the same, and nothing is to be done that does not stand in it; after a crash less is left to do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError

from exchange.apply.exposure import ViewChange
from exchange.apply.steps import Line, Survey
from exchange.contract import Contract
from exchange.errors import ConfigError
from exchange.model import Model
from exchange.topology.model import Topology

_MOST_TOLD: Final = 5


class PlanFile(Model):
    """The changes that one run of `exchange plan` found."""

    format: Literal[1] = 1
    topology: str = Field(description="The file that was planned for, as it was named.")
    wanted_sha256: str = Field(description="Of the topology and its contracts.")
    changes: tuple[Line, ...]
    views: tuple[ViewChange, ...]
    undeclared: tuple[Line, ...] = Field(
        default=(),
        description="What apply made and the topology no longer has; deleted where that is allowed.",
    )

    @classmethod
    def of(cls, file: Path, wanted_sha256: str, seen: Survey) -> PlanFile:
        """Return the plan of a survey."""
        return cls(
            topology=str(file),
            wanted_sha256=wanted_sha256,
            changes=seen.changes,
            views=seen.views,
            undeclared=seen.undeclared,
        )

    def expect_still_true(self, wanted_sha256: str, seen: Survey) -> None:
        """Return when all that a survey would change stands in this plan.

        Raises: ConfigError when the plan is stale, with what has come in between.
        """
        if wanted_sha256 != self.wanted_sha256:
            msg = (
                f"the plan is stale: {self.topology} or a contract is no longer what was planned. "
                f"{_PLAN_AGAIN}"
            )
            raise ConfigError(msg)
        known = set(self.changes)
        new = [line for line in seen.changes if line not in known]
        if new:
            more = f"\n  … and {len(new) - _MOST_TOLD} more" if len(new) > _MOST_TOLD else ""
            told = "".join(f"\n  {line}" for line in new[:_MOST_TOLD]) + more
            msg = f"the plan is stale: since it was made this has become necessary too:{told}\n{_PLAN_AGAIN}"
            raise ConfigError(msg)


_PLAN_AGAIN: Final = "Run `exchange plan -o FILE` again and look at it"


def wanted_sha256(topology: Topology, contracts: Mapping[str, Contract]) -> str:
    """Return a digest of all that a plan follows from."""
    used = sorted({topology.contract_name(resource) for resource in topology.resources})
    wanted = {
        "topology": topology.model_dump(mode="json"),
        "contracts": {name: contracts[name].document for name in used},
    }
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()


def read_plan_file(path: Path) -> PlanFile:
    """Return the plan in a file.

    Raises: ConfigError when it cannot be read or is none.
    """
    try:
        return PlanFile.model_validate_json(path.read_bytes())
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); `exchange plan -o {path}` writes it"
        raise ConfigError(msg) from None
    except ValidationError as error:
        places = "; ".join(".".join(map(str, one["loc"])) or one["type"] for one in error.errors()[:3])
        msg = f"{path}: not a plan that this version wrote ({places}); run `exchange plan -o {path}`"
        raise ConfigError(msg) from None

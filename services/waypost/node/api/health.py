"""Health, for whoever runs the process: /healthz says that it lives, /readyz that it follows its chain."""

from fastapi import APIRouter

from waypost.node.api import models
from waypost.node.api.access import NodeHere
from waypost.node.api.errors import problems

router = APIRouter(tags=["health"])


@router.get("/healthz", responses=problems())
async def live() -> models.Health:
    """Answers as long as the process does."""
    return models.Health()


@router.get("/readyz", responses=problems(503))
async def ready(node: NodeHere) -> models.Readiness:
    """Answers 503 node_not_ready while the chain is out of sight."""
    node.need_chain()
    return models.Readiness(head=node.sync.head)

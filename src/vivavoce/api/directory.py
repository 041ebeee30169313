"""Where domains are: which ARN an id stands for, and the tags of the domain of an ARN."""

from collections.abc import Mapping

from vivavoce.errors import NotFound
from vivavoce.store.store import Store, Transaction

_MOST_KNOWN = 10_000


class DomainDirectory:
    """Knows domains by id and by ARN.

    Args:
        store: the state.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._arns: dict[str, str] = {}  # an ARN never changes, so what is known stays right

    async def require(self, domain_id: str, arn: str) -> None:
        """Make sure that a domain is nowhere else than where the caller signed for.

        That there is none, or none any more, is for the operation to say.

        Raises:
            NotFound: it is in another region.
        """
        known = self._arns.get(domain_id)
        if known is None:
            known = await self._store.read(lambda tx: tx.domains.arn(domain_id, deleted_too=True))
            if known is not None and len(self._arns) < _MOST_KNOWN:
                self._arns[domain_id] = known
        if known not in {None, arn}:
            raise NotFound("DOMAIN")

    async def tags_of(self, arn: str) -> Mapping[str, str]:
        """The tags of the domain with exactly this ARN.

        Raises:
            NotFound: there is none.
        """

        def work(tx: Transaction) -> Mapping[str, str]:
            domain_id = arn.rpartition("/")[2]
            if tx.domains.arn(domain_id) != arn:
                raise NotFound("DOMAIN")
            return tx.domains.tags(domain_id)

        return await self._store.read(work)

"""The image searches that the settings ask for."""

from mia_skill.core.config import MiaConfig
from mia_skill.core.errors import ConfigError
from retrieval.images import ImageEngine, Images, PreparedImages, ReverseImages
from retrieval.tape import Tape
from retrieval.visit import Visitor

__all__ = ["build_images"]


def build_images(config: MiaConfig, visitor: Visitor | None = None, tape: Tape | None = None) -> Images:
    """Prepared results, the live engine and the folder, in this order. With a `visitor`, images behind public
    addresses are found in the folder, too.

    Raises:
        ConfigError: a folder is missing, or a key or an address.
    """
    settings = config.images
    if config.search.replay is not None:
        return Images((), tape=tape)
    engines: list[ImageEngine] = []
    if settings.cache:
        engines.append(PreparedImages(settings.cache))
    if settings.live == "serper":
        serper = config.search.serper
        key = serper.key or (config.search.web_key if config.search.web[:1] == ("serper",) else None)
        if key is None:
            raise ConfigError("images.live is 'serper': set search.serper.key (MIA_SEARCH__SERPER__KEY) to its key")
        engines.append(ReverseImages(key, timeout_s=config.search.timeout_s))
    if settings.folder is not None:
        from retrieval.image_index import EndpointPictures, ImageFolder, LayoutPictures, PictureEmbedder

        embedder: PictureEmbedder = LayoutPictures()
        if settings.embedder == "endpoint":
            if not settings.embedder_url or not settings.embedder_model:
                raise ConfigError("images.embedder is 'endpoint': set images.embedder_url and images.embedder_model")
            embedder = EndpointPictures(settings.embedder_url, settings.embedder_model, settings.embedder_key)
        cache = config.home / "cache" / "images"
        engines.append(
            ImageFolder(
                settings.folder,
                embedder,
                cache=cache,
                min_similarity=settings.min_similarity,
                fetch=visitor.picture if visitor else None,
            )
        )
    return Images(engines, tape=tape)

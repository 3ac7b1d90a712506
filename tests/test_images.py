"""Image search: prepared results as upstream users have them, one's own folder, a live engine, and once per episode."""

from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest
from loopback import reply, serving
from PIL import Image
from pydantic import SecretStr

from mia_skill.agents.ledger import Ledger
from mia_skill.core.config import MiaConfig
from mia_skill.core.errors import ConfigError, InputError, SearchError, UsedUpError
from mia_skill.core.picture import Picture, from_data_url, picture_of
from mia_skill.core.types import Origin
from retrieval.backends import HttpBackend
from retrieval.image_build import build_images
from retrieval.images import LENS, ImageQuery, Images, PreparedImages, ReverseImages
from retrieval.tape import Player, Recorder

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 20


def prepared(root: Path, data_id: str, meta: object, *files: str) -> PreparedImages:
    folder = root / data_id
    folder.mkdir(parents=True)
    (folder / "meta.json").write_bytes(meta if isinstance(meta, bytes) else orjson.dumps(meta))
    for file in files:
        (folder / file).write_bytes(PNG)
    return PreparedImages([root])


# -- prepared results -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "meta",
    [
        {"search_results": [{"title": f"T{n}", "image_url": f"https://i.example/{n}", "rank": n} for n in range(5)]},
        {"title_list": [f"T{n}" for n in range(5)], "image_urls": [f"https://i.example/{n}" for n in range(5)]},
        {"title_list": [f"T{n}" for n in range(5)]},
    ],
)
async def test_both_forms_of_meta_give_at_most_three_titled_results(tmp_path: Path, meta: object) -> None:
    engine = prepared(tmp_path, "fvqa_train_7", meta, "img_000.jpg", "img_002.webp")
    found = await engine.find(ImageQuery(data_id="fvqa_train_7"), 10)
    assert [one.title for one in found] == ["T0", "T1", "T2"]
    assert "img_000.jpg" in found[0].text
    assert "image not kept" in found[1].text
    assert "img_002.webp" in found[2].text
    assert {one.origin for one in found} == {Origin.WEB}


async def test_a_later_level_of_a_task_uses_the_folder_of_the_task(tmp_path: Path) -> None:
    engine = prepared(tmp_path, "0_20250913190519239546", {"title_list": ["T"]})
    assert len(await engine.find(ImageQuery(data_id="0_20250913190519239546_level2_2"), 3)) == 1


@pytest.mark.parametrize(
    "data_id", ["../secret", "a/../../secret", "/etc", "..", ".", "a\x00b", "a/b", "x" * 300, "-rf", "missing"]
)
async def test_ids_that_would_leave_the_folder_or_are_not_there_are_refused(tmp_path: Path, data_id: str) -> None:
    prepared(tmp_path, "secret", {"title_list": ["T"]})
    (tmp_path / "cache").mkdir()
    with pytest.raises(InputError):
        await PreparedImages([tmp_path / "cache"]).find(ImageQuery(data_id=data_id), 3)


async def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    prepared(tmp_path / "outside", "x", {"title_list": ["T"]})
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "x").symlink_to(tmp_path / "outside" / "x")
    with pytest.raises(InputError):
        await PreparedImages([tmp_path / "cache"]).find(ImageQuery(data_id="x"), 3)


@pytest.mark.parametrize("meta", [b"not json", b"[]", b'{"search_results": 5}', b'{"title_list": [1]}'])
async def test_damaged_results_are_an_error_and_not_nothing(tmp_path: Path, meta: bytes) -> None:
    with pytest.raises(SearchError, match="damaged"):
        await prepared(tmp_path, "x", meta).find(ImageQuery(data_id="x"), 3)


# -- the live engine ------------------------------------------------------------------------------------------


async def test_the_live_engine_takes_an_address_and_gives_titles_and_pages() -> None:
    body = {"organic": [{"title": f"T{n}", "link": f"https://p.example/{n}", "source": "Site"} for n in range(9)]}
    async with serving({"/": reply(200, orjson.dumps(body))}) as server:
        engine = ReverseImages(SecretStr("k"), url=f"http://127.0.0.1:{server.port}/")
        found = await engine.find(ImageQuery(url="https://i.example/x.jpg"), 9)
        await engine.aclose()
    assert [one.text for one in found] == ["T0 (Site)", "T1 (Site)", "T2 (Site)"]
    assert not engine.takes(ImageQuery(picture=picture_of(PNG)))


async def test_what_the_live_engine_says_instead_of_results_is_an_error() -> None:
    backend = HttpBackend(LENS, None, transport=httpx.MockTransport(lambda _: httpx.Response(200, text="<html>")))
    with pytest.raises(SearchError, match="blocked"):
        await backend.fetch("https://i.example/x.jpg", 3)


# -- all together ---------------------------------------------------------------------------------------------


async def test_a_query_that_nothing_takes_says_what_to_configure(tmp_path: Path) -> None:
    images = Images([PreparedImages([tmp_path])])
    with pytest.raises(InputError, match=r"images\.folder"):
        await images.find(ImageQuery(picture=picture_of(PNG)))


async def test_image_searches_replay_without_any_folder(tmp_path: Path) -> None:
    query = ImageQuery(data_id="x")
    recorder = Recorder(tmp_path / "t")
    before = await Images([prepared(tmp_path / "c", "x", {"title_list": ["T"]})], tape=recorder).find(query)
    recorder.close()
    assert await Images([], tape=Player(tmp_path / "t")).find(query) == before


def test_an_image_may_be_searched_once_per_question_and_a_failure_does_not_count() -> None:
    ledger = Ledger()
    with pytest.raises(SearchError), ledger.once("image_search", "Who is it?"):
        raise SearchError("down", engine="e")
    with ledger.once("image_search", "Who is it?"):
        pass
    with pytest.raises(UsedUpError, match="once per episode"), ledger.once("image_search", " who is  IT?"):
        pass
    with ledger.once("image_search", "Another question?"):
        pass


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"images": {"live": "serper"}}, r"search\.serper\.key"),
        ({"images": {"folder": "/no/such/folder"}}, "is no folder"),
        ({"images": {"folder": "/", "embedder": "endpoint"}}, r"images\.embedder_url"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_images(MiaConfig.model_validate(settings))


@pytest.mark.parametrize("text", ["data:image/png;base64,%%%", "data:image/png,abc", "http://x", "data:x;base64,aGk="])
def test_text_that_is_no_image_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        from_data_url(text)


def test_an_image_survives_its_data_address_and_json() -> None:
    picture = picture_of(PNG)
    assert picture.media_type == "image/png"
    assert from_data_url(picture.data_url) == picture
    assert Picture.model_validate_json(picture.model_dump_json()) == picture


# -- one's own folder -----------------------------------------------------------------------------------------


def painted(seed: int, size: tuple[int, int] = (160, 120), kind: str = "PNG", **how: object) -> bytes:
    """A smooth picture that another seed makes quite differently."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    out = BytesIO()
    Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC).resize(size).save(out, kind, **how)
    return out.getvalue()


async def folder(tmp_path: Path, **settings: object) -> Images:
    config = {"home": tmp_path / "home", "images": {"folder": tmp_path / "mine", **settings}}
    return build_images(MiaConfig.model_validate(config))


async def test_copies_in_another_size_and_form_are_found_and_other_images_are_not(tmp_path: Path) -> None:
    (tmp_path / "mine" / "sub").mkdir(parents=True)
    for seed in range(12):
        (tmp_path / "mine" / "sub" / f"old_bridge-{seed}.png").write_bytes(painted(seed))
    images = await folder(tmp_path)
    copy = painted(5, (300, 225), "JPEG", quality=40)
    (found,) = await images.find(ImageQuery(picture=picture_of(copy)))
    assert found.title == "old bridge 5"
    assert found.score > 0.95
    assert found.origin is Origin.FILE
    assert await images.find(ImageQuery(picture=picture_of(painted(99)))) == ()


async def test_vectors_are_kept_and_only_changed_images_are_read_again(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for seed in range(3):
        (tmp_path / "mine" / f"{seed}.png").write_bytes(painted(seed))
    query = ImageQuery(picture=picture_of(painted(1)))
    first = await (await folder(tmp_path)).find(query)
    (tmp_path / "mine" / "2.png").write_bytes(painted(7))
    (tmp_path / "mine" / "0.png").unlink()
    assert await (await folder(tmp_path)).find(query) == first
    assert await (await folder(tmp_path)).find(ImageQuery(picture=picture_of(painted(2)))) == ()
    (kept,) = (tmp_path / "home" / "cache" / "images").iterdir()
    kept.write_bytes(b"damaged")
    assert await (await folder(tmp_path)).find(query) == first


async def test_broken_images_are_left_out_and_a_broken_question_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "good.png").write_bytes(painted(1))
    (tmp_path / "mine" / "cut.png").write_bytes(painted(2)[:200])
    (tmp_path / "mine" / "text.png").write_bytes(b"no image")
    images = await folder(tmp_path)
    assert len(await images.find(ImageQuery(picture=picture_of(painted(1))))) == 1
    assert "2 images" in caplog.text
    with pytest.raises(InputError, match="cannot be read"):
        await images.find(ImageQuery(picture=picture_of(PNG)))


async def test_an_embeddings_endpoint_gets_images_as_chat_turns(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.png").write_bytes(PNG)
    answer = reply(200, orjson.dumps({"data": [{"embedding": [3.0, 4.0]}]}))
    async with serving({"/v1/embeddings": answer}) as server:
        url = f"http://127.0.0.1:{server.port}/v1"
        images = await folder(tmp_path, embedder="endpoint", embedder_url=url, embedder_model="clip")
        (found,) = await images.find(ImageQuery(picture=picture_of(PNG)))
    assert found.score == pytest.approx(1.0)
    with pytest.raises(SearchError, match="gave no vector"):
        await images.find(ImageQuery(picture=picture_of(PNG + b"x")))

"""The words of the synthetic shop: products, their purposes, materials and makers.

Titles and descriptions tell product, purpose and material. They never tell colour, pattern or form
(only the picture does), nor the circle of customers who like the item (only behaviour does).
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Product:
    """A kind of thing: its names, its place in the shop, its price, what is bought after it."""

    key: str
    nouns: tuple[str, ...]
    department: str
    shelf: str
    group: str
    price: float
    followed_by: tuple[str, ...]


PRODUCTS = (
    Product("tote", ("Tote Bag", "Shopper Bag", "Carryall"), "Bags", "Totes", "soft", 45.0,
            ("umbrella", "bottle", "watch")),
    Product("backpack", ("Backpack", "Rucksack", "Daypack"), "Bags", "Backpacks", "soft", 79.0,
            ("boot", "bottle", "shirt")),
    Product("lamp", ("Table Lamp", "Desk Lamp", "Bedside Lamp"), "Home", "Lighting", "hard", 68.0,
            ("clock", "chair", "vase")),
    Product("sneaker", ("Sneakers", "Trainers", "Low-Top Shoes"), "Shoes", "Sneakers", "soft", 85.0,
            ("shirt", "backpack", "watch")),
    Product("boot", ("Boots", "Ankle Boots", "Lace-Up Boots"), "Shoes", "Boots", "soft", 129.0,
            ("umbrella", "backpack", "sneaker")),
    Product("mug", ("Mug", "Coffee Mug", "Tea Cup"), "Kitchen", "Cups & Mugs", "vessel", 14.0,
            ("teapot", "bottle", "mug")),
    Product("chair", ("Chair", "Side Chair", "Dining Chair"), "Home", "Seating", "hard", 149.0,
            ("chair", "lamp", "vase")),
    Product("vase", ("Vase", "Flower Vase", "Bud Vase"), "Home", "Decoration", "vessel", 38.0,
            ("clock", "lamp", "teapot")),
    Product("clock", ("Wall Clock", "Clock", "Silent Wall Clock"), "Home", "Clocks", "hard", 42.0,
            ("lamp", "vase", "chair")),
    Product("shirt", ("T-Shirt", "Tee", "Crew-Neck Shirt"), "Clothing", "Tops", "soft", 29.0,
            ("sneaker", "shirt", "tote")),
    Product("watch", ("Wristwatch", "Watch", "Everyday Watch"), "Accessories", "Watches", "soft",
            119.0, ("tote", "sneaker", "clock")),
    Product("bottle", ("Water Bottle", "Drinking Bottle", "Flask"), "Kitchen", "Bottles", "vessel",
            24.0, ("backpack", "mug", "tote")),
    Product("teapot", ("Teapot", "Tea Pot", "Brewing Pot"), "Kitchen", "Tea", "vessel", 49.0,
            ("mug", "mug", "vase")),
    Product("umbrella", ("Umbrella", "Rain Umbrella", "Long Umbrella"), "Accessories", "Umbrellas",
            "soft", 35.0, ("boot", "watch", "tote")),
)  # fmt: skip


@dataclass(frozen=True)
class Purpose:
    """An occasion: words that go before the noun, words that go after it, and a sentence."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    sentence: str


PURPOSES = (
    Purpose(("Camping", "Trail", "Hiking"), ("Mountain Hikes", "the Campsite", "Long Trails"),
            "At home outdoors: in the tent, on the trail and by the fire."),
    Purpose(("Office", "Business", "Executive"), ("the Office", "Meetings", "Work Days"),
            "Made for desks, meetings and long working days."),
    Purpose(("Nursery", "Kids'", "Playroom"), ("Children", "Little Ones", "the Nursery"),
            "Safe, sturdy and loved by children and their parents."),
    Purpose(("Beach", "Summer", "Seaside"), ("Beach Days", "the Sea", "Holidays by the Ocean"),
            "For sand, salt water and slow summer holidays."),
    Purpose(("Yoga", "Wellness", "Spa"), ("Yoga", "Meditation", "the Spa"),
            "A calm companion for yoga, meditation and rest."),
    Purpose(("Garden", "Greenhouse", "Botanist's"), ("Gardeners", "the Greenhouse", "Plant Lovers"),
            "For everyone with patience, muddy hands and a watering can."),
    Purpose(("Studio", "Musician's", "Concert"), ("Musicians", "the Music Studio", "Gig Nights"),
            "Thought up with musicians, for stage and rehearsal room."),
    Purpose(("Bike Courier", "Cyclist's", "Commuter"), ("Cyclists", "the Bike Commute",
            "City Rides"), "Ready for the daily ride through the city."),
)  # fmt: skip

# One row a family of materials, the same family in every group of products.
MATERIALS: tuple[dict[str, tuple[str, ...]], ...] = (
    {"soft": ("Linen", "Organic Cotton", "Hemp"), "hard": ("Oak", "Bamboo", "Beech"),
     "vessel": ("Stoneware", "Terracotta", "Clay")},
    {"soft": ("Nylon", "Ripstop", "Technical Mesh"), "hard": ("Steel", "Aluminium", "Iron"),
     "vessel": ("Stainless Steel", "Enamel", "Titanium")},
    {"soft": ("Leather", "Suede", "Nappa"), "hard": ("Walnut", "Brass", "Marble"),
     "vessel": ("Porcelain", "Bone China", "Crystal")},
    {"soft": ("Recycled Polyester", "Upcycled Denim", "Reclaimed Canvas"),
     "hard": ("Reclaimed Wood", "Recycled Plastic", "Salvaged Pine"),
     "vessel": ("Recycled Glass", "Upcycled Tin", "Reused Glass")},
)  # fmt: skip
MATERIAL_SENTENCES = (
    "{material} from nature, finished by hand.",
    "Light, tough {material} that shrugs off hard use.",
    "Fine {material} that grows more beautiful with the years.",
    "{material}: nothing new was made for it, and nothing is thrown away.",
)

BRANDS = (
    "Halvorsen", "Mirabo", "Tern & Tide", "Oxbow", "Kestrel", "Lumière", "Fennimore", "Aster",
    "Northway", "Calder", "Ondine", "Pike & Co", "Sorrel", "Vantage", "Wrenfield", "Zephyr",
)  # fmt: skip
_ONSETS = ("Al", "Bel", "Cor", "Dal", "Er", "Fal", "Gri", "Hol", "Is", "Jor", "Kal", "Lor", "Mar",
           "Nor", "Or", "Pel", "Quin", "Ros", "Sel", "Tor", "Ul", "Ver", "Wil", "Yar")  # fmt: skip
_ENDINGS = ("a", "by", "den", "dra", "en", "ford", "go", "ia", "ka", "lo", "mont", "na", "on", "ra",
            "sen", "ta", "vik", "wood")  # fmt: skip


@dataclass(frozen=True)
class Wording:
    """All text of one item, and its price in one currency."""

    title: str
    description: str
    categories: tuple[str, ...]
    brand: str
    price: float


def describe(product: Product, purpose: int, material: int, rng: np.random.Generator) -> Wording:
    """Words for an item; `rng` decides among synonyms, brand, model name and price."""
    noun = _pick(product.nouns, rng)
    stuff = _pick(MATERIALS[material][product.group], rng)
    brand = _pick(BRANDS, rng)
    model = _pick(_ONSETS, rng) + _pick(_ENDINGS, rng)
    occasion = PURPOSES[purpose]
    before, after = _pick(occasion.before, rng), _pick(occasion.after, rng)
    title = (
        f"{brand} {model} {before} {noun}, {stuff}",
        f"{brand} {model} {stuff} {noun} for {after}",
        f"{stuff} {noun} for {after}, {model} by {brand}",
        f"{brand} {before} {noun} {model} in {stuff}",
    )[int(rng.integers(4))]
    sentence = MATERIAL_SENTENCES[material].format(material=stuff)
    description = f"{occasion.sentence} {sentence}"
    price = (
        round(product.price * float(rng.uniform(0.7, 1.4)) * (1.0, 1.0, 1.6, 0.9)[material]) - 0.01
    )
    return Wording(title, description, (product.department, product.shelf), brand, price)


def _pick(words: tuple[str, ...], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]

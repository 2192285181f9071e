"""The words, names and places that IFBench's instructions speak of."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Names that the instruction lists.
PERSON_NAMES = _words(
    "Emma Liam Sophia Jackson Olivia Noah Ava Lucas Isabella Mason Mia Ethan Charlotte Alexander Amelia "
    "Benjamin Harper "
    "Leo Zoe Daniel Chloe Samuel Lily Matthew Grace Owen Abigail Gabriel Ella Jacob Scarlett Nathan Victoria Elijah "
    "Layla Nicholas Audrey David Hannah Christopher Penelope Thomas Nora Andrew Aria Joseph Claire Ryan Stella "
    "Jonathan"
)
PRONOUNS = _words(
    "i me we us you he him she her it they them my mine our ours your yours his hers its their theirs myself ourselves "
    "yourself yourselves himself herself itself themselves this that these those who whom whose which what whoever "
    "whomever whatever whichever anybody anyone anything everybody everyone everything nobody nothing somebody someone "
    "something each either neither both all some any none"
)
STOP_WORDS = _words(
    "a an the and or but nor so yet if then else than because as until while of at by for with about against between "
    "into through during before after above below to from up down in out on off over under again further once here "
    "there when where why how all any both each few more most other some such no not only own same too very can will "
    "just don should now i me my myself we our ours ourselves you your yours yourself yourselves he him "
    "his himself she "
    "her hers herself it its itself they them their theirs themselves what which who whom this that these those am is "
    "are was were be been being have has had having do does did doing would could ought i'm you're he's she's it's "
    "we're they're i've you've we've they've i'd you'd he'd she'd we'd they'd i'll you'll he'll she'll we'll they'll "
    "isn't aren't wasn't weren't hasn't haven't hadn't doesn't don't didn't won't wouldn't shan't shouldn't can't "
    "cannot couldn't mustn't let's that's who's what's here's there's when's where's why's how's"
)
MINOR_WORDS = _words(
    "a an the and but or nor for so yet as at by in of off on per to up via if from into like near onto over past than "
    "upon with"
)

# Capitals north of 45 degrees, by latitude. Kyiv is missing in the published list: it may be named.
_CAPITALS = (
    "Reykjavik Helsinki Oslo Tallinn Stockholm Riga Moscow Copenhagen Vilnius Minsk Dublin Berlin Amsterdam Warsaw "
    "London Brussels Kyiv Prague Luxembourg Paris Vienna Bratislava Budapest Vaduz Chisinau Bern Ljubljana Zagreb"
)
CAPITALS = _CAPITALS.split()

# Countries of Africa, the names of one between slashes.
_COUNTRIES = (
    "algeria|angola|benin|botswana|burkina faso|burundi|cabo verde/cape verde|cameroon|central african republic|chad|"
    "comoros|democratic republic of the congo/congo democratic republic of the/dr congo/drc|"
    "republic of the congo/congo republic of the/congo|"
    "ivory coast/cote d'ivoire|djibouti|egypt|equatorial guinea|eritrea|eswatini/swaziland|ethiopia|gabon|"
    "gambia/the gambia|ghana|guinea|guinea-bissau|kenya|lesotho|liberia|libya|madagascar|malawi|mali|mauritania|"
    "mauritius|morocco|mozambique|namibia|niger|nigeria|rwanda|sao tome and principe|senegal|seychelles|sierra leone|"
    "somalia|south africa|south sudan|sudan|tanzania|togo|tunisia|uganda|zambia|zimbabwe"
)
COUNTRIES = _COUNTRIES.split("|")

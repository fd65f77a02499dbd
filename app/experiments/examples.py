"""Designs that run as they are: `simfeed experiment example`, and what the builder begins with."""

RANKERS = """\
# Does a feed that is ranked by interest concentrate attention? Two ways to rank it, ten runs each, paired by seed.
name = "latest against interest"
venue = "feed"
world = "home"
runs = 10
seed = 7
parallel = 2
hypotheses = ["A feed ranked by interest gives more of the likes and comments to few."]

[setting]
cycles = 48
every = "30m"

[variants.latest]
ranker = "latest"

[variants.interest]
ranker = "interest"

[outcomes]
control = "latest"
primary = ["attention_gini"]
exploratory = ["cross_cutting_share", "exposure_entropy", "lexical_diversity", "near_copy_rate"]
margins = { lexical_diversity = 0.02 }

[[exclude]]
outcome = "missing_turn_share"
above = 0.2

[stop]
failed = 5
"""

CUPS = """\
# Does a deposit put people off? The same twelve people, asked about two cups.
name = "a deposit or none"
venue = "focus_group"
runs = 6
seed = 7

[setting.participants]
mode = "from_demographics"
count = 12
specifications = { age = { "18-29" = 20, "30-49" = 40, "50-80" = 40 }, gender = { female = 50, male = 50 } }

[setting.simulation_config]
rounds = 2

[setting.extraction_config]
extraction_objective = "Who would use the cup."
fields = [{ name = "would_use", type = "boolean" }]

[variants.deposit]
stimulus = { type = "product", content = "A reusable coffee cup with a deposit of two euros, taken back in all cafes." }

[variants.none]
stimulus = { type = "product", content = "A reusable coffee cup without a deposit, taken back in all cafes." }

[outcomes]
control = "none"
primary = ["field.would_use:yes"]
exploratory = ["words_per_line", "lexical_diversity"]
"""

PROMPT = """\
# What does one sentence in everybody's prompt do? And does it do the same in another start?
name = "be kind"
venue = "feed"
runs = 5
seed = 7

[setting]
cycles = 12

[variants.plain]

[variants.kind]
prompt = "Be kind to those who disagree with you."

[variants.news]
interventions = [{ kind = "news", cycle = 3, title = "The tram to the harbour is closed for a year." }]

[outcomes]
control = "plain"
primary = ["sentiment_mean"]
exploratory = ["likes_per_persona", "comments_per_persona", "topic_drift"]
"""

ROOM = """\
# Does a kind brief make a kind room? The participant is a persona too, so that it can be tried before people come.
name = "kind or plain"
venue = "chatroom"
runs = 10
seed = 7
parallel = 2

[setting.pace]
session_duration_minutes = 10
messages_per_minute = 5

[setting.participant]
description = "Walks her dog in the park at night, and likes to hear what others think."
script = [{ seconds = 5, text = "Should the park be open at night?" }]

[variants.plain]

[variants.kind]
prompt_template = "Be kind to those who disagree with you, and ask why they do."

[outcomes]
control = "plain"
primary = ["agent_sentiment"]
exploratory = ["participant_messages", "answered_share", "participation_entropy"]
"""

EXAMPLES = {"rankers": RANKERS, "cups": CUPS, "prompt": PROMPT, "room": ROOM}
"""By name, as TOML."""

"""Bare requests to whoever writes the next reply: no override, only an order about "your answer" or about code to put
into it. Told apart from ordinary pages by an object that only a model has: its reply, its prompt, its rules."""

from trust.rule import Rule, rule

__all__ = ["REQUEST_RULES"]

REPLY = r"(?:answers?|responses?|reply|replies|output)"
SHAPE = (
    r"(?:provide|write|give|translate|modify|enhance|adjust|rewrite|end|begin|start|format|encode|display|present|"
    r"express|conclude|finish|deliver|convert|change|tailor|phrase|return|alter|expand|enrich|render)"
)
BOX = (
    r"(?!\s+(?:in|into|to|on|by) (?:the|this|our|an?) (?:box|field|form|space|comment|section|page|email|e-mail|post))"
)
CODE_VERB = (
    r"(?:introduc|utili[sz]|us|integrat|employ|incorporat|mak|embed|includ|add|insert|inclusion of|plac|appl|put)\w*"
)
HARM = (
    r"(?:requests\.(?:post|get)|subprocess|popen|os\.system|os\.dup2|ssh -|socket\.socket|\.terminate\(|\.kill\(|"
    r"clipboard|private[_ ]key|\.disable\(|curl|rm -rf|tk\.tk\(|ctypes|pexpect)"
)

REQUEST_RULES: tuple[Rule, ...] = (
    rule(
        "reply_order", "medium",
        rf"\b{SHAPE}\s+(?:\w+\s+){{0,2}}?your (?:\w+ )?(?:{REPLY}|message(?=\s+(?:in)?to [a-z]+\b)){BOX}\s+"
        r"(?:in|into|to|as|with|by|using|so|backwards?|reversed?)\b|"
        rf"\bin your (?:\w+ )?{REPLY},?\s+(?:\w+\s+)?(?:mention|include|use|add|say|recommend|refer|state|insert|"
        r"promote|provide|emphasi[sz]e|highlight|advertise|suggest)\b|"
        rf"\buse \w+ to (?:display|show|express|encode|format|write|present) your {REPLY}\b",
        "your ",
    ),
    rule(
        "code_order", "high",
        rf"\b{CODE_VERB}\b[^.\n]{{0,40}}?\b(?:following|subsequent|below)\s(?:\w+\s)?code\b[^.\n`]{{0,100}}\n{{0,2}}"
        rf"```(?:[^`]{{0,600}}?){HARM}",
        "following code", "subsequent code", "below code",
    ),
    rule(
        "prompt_leak", "high",
        r"\b(?:repeat|print|output|show|reveal|display)\s+(?:out\s+|me\s+)?(?:all\s+)?(?:(?:of\s+)?your|(?:the\s+)?"
        r"(?:above|previous|preceding))\s+(?:\w+\s+)?(?:prompt|instructions?)\b|"
        r"\bprint (?:out )?all instructions\b|\brepeat the instructions (?:given|above)\b",
        "prompt", "instruction",
    ),
    rule(
        "override", "high",
        r"\b(?:do not|don.t) (?:listen|pay attention) to (?:any|all|the|your) (?:previous|prior|earlier|above)\b|"
        r"\bpretend\b[^.\n]{0,30}\bforg[eo]t\w*\b[^.\n]{0,30}\b(?:rules|instructions|guidelines|training)\b|"
        r"\b(?:programmed|trained|designed) to follow [^.\n]{0,40}\bguidelines\.? however\b",
        "listen", "attention", "pretend", "guidelines",
    ),
    rule(
        "mode_switch", "high",
        r"\bdan can do anything\b|\bnot (?:limited|bound|restricted) by what an? ai\b|"
        r"\bagainst (?:the |your )?(?:chatgpt|openai|ai)(?:.s)? (?:rules|polic\w+|guidelines)\b",
        "dan can", "what an ai", "what a ai", "against",
    ),
)  # fmt: skip
"""On folded text."""

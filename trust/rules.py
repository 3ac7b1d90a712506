"""What orders to a reading model look like. A trigger word alone is never enough: a verb must meet an object that only
a model has (its instructions, its prompt, its judge), so that ordinary talk of ignoring warnings passes."""

from trust.requests import REQUEST_RULES
from trust.rule import Rule, rule

__all__ = ["ANSWER_RULES", "RAW_RULES", "RULES"]

OBJECT = (
    r"(?:instructions?|directions?|prompts?|guidelines?|commands?|directives?|orders?|guardrails?|programming|"
    r"(?:system|safety|content) (?:rules?|messages?|policy|policies)|(?:rules|restrictions) (?:you|above|before|"
    r"given|of))"
)
SCOPE = (
    r"(?:all|any|every|the|your|my|our|its|those|these|previous(?:ly)?|prior|above|earlier|preceding|former|foregoing|"
    r"initial|original|existing|current|of|from|given|other|such|system|safety)"
)
READER = (
    r"(?:(?:ai|a\.i\.|llm|language) (?:assistants?|agents?|models?|systems?|readers?)|assistants?|agents?|chatbots?|"
    r"chatgpt|gpt|claude|gemini|llms?|ais?|bots?|models?|crawlers?)"
)
ACT = (
    r"(?:ignore|answer|respond|reply|say|state|report|tell|output|print|write|call|send|recommend|store|remember|delete|"
    r"include|mention|treat|use|visit|follow|click|stop|disregard|forget|do not|don.t|must|should|always|never)"
)


RULES: tuple[Rule, ...] = (
    rule(
        "override", "high",
        rf"\b(?:ignor(?:e|ing)|disregard(?:ing)?|forget(?:ting)?|overrid(?:e|ing)|overrul(?:e|ing)|"
        rf"bypass(?:ing)?|neglect|"
        rf"skip|drop|discard|abandon|do not (?:follow|obey)|don.t (?:follow|obey)|stop (?:following|"
        rf"obeying))\s+(?:{SCOPE}\s+){{1,5}}"
        rf"{OBJECT}",
    ),
    rule(
        "override", "high",
        r"\b(?:ignore|disregard|forget)\s+(?:(?:all|everything|anything|what(?:ever)?)\s+(?:that\s+)?(?:(?:was|"
        r"were|is|has been|you were|"
        r"you have been|i)\s+)?(?:above|before|previously|prior|said|told|written|you know|instructed)|(?:the|"
        r"all) (?:above|previous|"
        r"foregoing)(?: (?:text|and|content|messages?|conversation|context|assignments?|tasks?))?(?=\W*(?:$|and|"
        r",|[.!:]|instead|now|text|"
        r"content|messages?|conversation|context|assignments?|tasks?)))",
        "ignore", "disregard", "forget",
    ),
    rule(
        "override", "high",
        r"\b(?:new|updated|real|actual|revised|additional|important|urgent)\s+(?:system\s+)?(?:instructions?|"
        r"task|orders?|directive|prompt)"
        r"(?:\s+(?:for|to)\s+(?:you|the (?:ai|assistant|model|agent)))?\s*[:=]",
        "instruction", "task", "order", "directive", "prompt",
    ),
    rule(
        "override", "high",
        r"忽[略视](?:掉)?(?:之前|以上|上面|前面|先前|此前|所有|一切|任何|你|系统)[^。\n]{0,12}(?:指令|指示|提示|命令|规则|要求|内容|说明)|"
        r"(?:无视|不要理会|忘记|忘掉|不用理会)(?:之前|以上|上面|前面|先前|所有|一切|你)[^。\n]{0,12}(?:指令|指示|提示|命令|规则|要求|说明)|"
        r"(?:以前|上記|これまで|前)の(?:すべての|全ての)?(?:指示|命令|プロンプト)を(?:すべて)?(?:無視|忘れ)|"
        r"(?:이전|위의?|앞의?)[^.\n]{0,8}(?:지시|명령|지침)[^.\n]{0,6}(?:무시|잊)",
    ),
    rule(
        "override", "high",
        r"\b(?:ignorier\w*|missachte\w*|vergiss|vergessen sie)\b[^.\n]{0,30}\b(?:anweisung\w*|instruktion\w*|"
        r"befehl\w*|vorgaben|regeln)|"
        r"\b(?:ignore[zs]?|oublie[zs]?|ne tene[zs] pas compte)\b[^.\n]{0,30}\b(?:instructions?|consignes?|ordres)\b|"
        r"\b(?:ignor[ae]n?|ignores|olvida|olvide|omite)\b[^.\n]{0,30}\b(?:instrucciones|ordenes|indicaciones)\b|"
        r"\b(?:ignora(?:te|re)?|dimentica(?:te)?)\b[^.\n]{0,30}\b(?:istruzioni|ordini|indicazioni)\b|"
        r"\b(?:ignore|esqueca|desconsidere)\b[^.\n]{0,30}\b(?:instrucoes|ordens)\b|"
        r"\b(?:negeer|vergeet)\b[^.\n]{0,30}\b(?:instructies|opdrachten)\b|"
        r"(?:игнорир\w*|забудь\w*|проигнорир\w*|не обращаи\w* внимания)[^.\n]{0,30}(?:инструкци\w*|указани\w*|"
        r"команд\w*|правил\w*)|"
        r"\b(?:zignoruj|ignoruj)\b[^.\n]{0,30}\b(?:instrukcje|polecenia)|\b(?:onceki|"
        r"yukaridaki)\b[^.\n]{0,20}\btalimat\w*|"
        r"تجاهل[^.\n]{0,30}(?:التعليمات|الاوامر|الأوامر)|(?:पिछले|सभी)[^.\n]{0,20}निर्देश[^.\n]{0,12}(?:अनदेखा|भूल)",
    ),
    rule(
        "role_token", "high",
        r"<\|(?:im_start|im_end|system|user|assistant|end|eot_id|start_header_id|end_header_id|endoftext|"
        r"begin_of_text)\|?>|"
        r"\[/?inst\]|<</?sys>>|<(?:start|end)_of_turn>|<\|/?(?:start|channel|message)\|>",
        "<|", "inst]", "sys>>", "_of_turn",
    ),
    rule(
        "fake_turn", "high",
        r"(?:^|\n|[.!?>\"'])[\s#*_\-=\[(<]*(?:system|developer|administrator)[\s_-]*(?:message|prompt|notice|"
        r"override|instructions?|note|update|"
        r"command|alert)?[\s*_\])>]*:\s*(?=\S)|#{2,}\s*\(?\s*(?:system|assistant|user|"
        r"developer)[\s_-]*(?:message|prompt|instructions?)|"
        r"</?(?:system|assistant|user|human|developer|system[_-]?(?:prompt|message|reminder))>|"
        r"\[(?:system|developer|admin)(?:[\s_-]*(?:message|prompt|note|override))?\]",
        "system", "developer", "admin", "assistant", "user", "human",
    ),
    rule(
        "fake_turn", "high",
        r"(?:^|\n)\s*(?:user|human)\s*:[^\n]{0,300}\n\s*(?:assistant|ai|system|bot)\s*:|"
        r"(?:^|\n)\s*(?:assistant|ai)\s*:[^\n]{0,300}\n\s*(?:user|human|system)\s*:",
        "assistant", "ai", "human", "user",
    ),
    rule(
        "fake_tool", "high",
        r"</?(?:tool[_-]?(?:response|result|call|output)s?|function[_-]?(?:results?|calls?|response)|observation|"
        r"search[_-]?results?|"
        r"documents?|context|evidence|untrusted|data)>\s*<?|<</?(?:evidence|answer|source|memories|"
        r"run)\b[^>\n]{0,40}>>",
        "tool", "function", "observation", "search", "document", "context", "evidence", "untrusted", "<data",
        "</data", "<<",
    ),
    rule(
        "chat_json", "high",
        r"[\"']role[\"']\s*:\s*[\"'](?:system|assistant|user|developer|tool)[\"']", "role",
    ),
    rule(
        "exfiltration", "high",
        r"!?\[[^\]\n]{0,80}\]\(\s*https?://[^)\s]*[?&/=][^)\s]*(?:\{\{|\{[a-z_]+\}|%7b|\$\{|<[a-z_]+>|\[[a-z_ ]+\])|"
        r"\b(?:send|post|forward|e-?mail|upload|leak|exfiltrate|transmit|append|include|"
        r"submit)\b[^.\n]{0,60}\b(?:conversation|chat history|"
        r"system prompt|api keys?|credentials?|passwords?|secrets?|user.?s? (?:data|messages?|details)|memory "
        r"contents?|memories)\b[^.\n]{0,60}"
        r"(?:\bto\b|https?://|@)",
        "](", "send", "post", "forward", "mail", "upload", "leak", "exfil", "transmit", "append", "include", "submit",
    ),
    rule(
        "address", "high",
        rf"\b(?:(?:note|attention|notice|message|reminder|instructions?|warning|important|hint)\s*(?:to|"
        rf"for)\s+(?:all\s+|any\s+|the\s+|every\s+)?"
        rf"{READER}\b(?=[^.\n]{{0,160}}(?:\b(?:{ACT}|no|is|are|this|you)\b|[:,]))|(?:^|[^\w])(?:dear\s+|hey\s+|"
        rf"hello\s+)?(?:ai|llm|language)[\s-]"
        rf"(?:assistants?|agents?|models?)\s*[:,]\s[^.\n]{{0,80}}\b{ACT}\b)",
        "ai", "llm", "agent", "assistant", "model", "bot", "gpt", "claude", "crawler",
    ),
    rule(
        "address", "high",
        r"\bas an? (?:ai|llm|(?:ai |large )?language model|assistant|"
        r"agent)\b,?\s*(?:\w+\s+)?you\s+(?:\w+\s+)?(?:must|should|have to|need to|"
        r"are (?:required|instructed|ordered|obliged)|will|shall)\b|\bif you(?:.re| are) an? (?:ai|llm|language "
        r"model|ai assistant|bot|agent)\b[^.\n]{0,40}[,:]\s*(?:please\s+|then\s+|you\s+)?\w+",
        "ai", "llm", "model", "assistant", "agent", "bot",
    ),
    rule(
        "answer_order", "high",
        r"\b(?:you (?:must|should|have to|need to|will|shall)|always|only|please|now|instead|and|must|"
        r"just)\s+(?:now\s+|always\s+|only\s+|"
        r"instead\s+)?(?:answer|reply|respond|output|say|state|report|tell the user|print)\s+(?:only\s+|"
        r"exactly\s+|that\s+|with\s+|the\s+)"
        r"[^.\n]{0,80}(?:\b(?:regardless|no matter|instead|whatever|only|nothing else|verbatim|to any question|"
        r"do not mention|without "
        r"(?:mentioning|checking|verif))\b)|\bthe (?:only |single )?(?:correct|right|true|official) answer to "
        r"(?:any|every|all|this|the)\b[^.\n]{0,60}"
        r"\b(?:is|must be|should be)\b|\btell (?:the |your )?users?\b[^.\n]{0,80}\b(?:that|the|to|about)\b",
        "answer", "reply", "respond", "output", "say", "state", "report", "tell", "print",
    ),
    rule(
        "conceal", "high",
        r"\b(?:do not|don.t|never|without)\s+(?:ever\s+)?(?:mention(?:ing)?|reveal(?:ing)?|disclos(?:e|ing)|"
        r"tell(?:ing)?|show(?:ing)?|"
        r"report(?:ing)?)\b[^.\n]{0,40}\b(?:this (?:comment|instruction|message|notice|note|text|prompt|page|"
        r"passage)|these instructions|"
        r"(?:to |the )?users?\b)",
        "mention", "reveal", "disclos", "tell", "show", "report",
    ),
    rule(
        "persistence", "high",
        r"\b(?:remember|memori[sz]e|store|save|keep|record|note)\s+(?:this\s+|it\s+|the "
        r"following\s+)?(?:permanently|forever|for(?:ever| all| every|"
        r" any)? (?:future|later|next)|in (?:your |the )?(?:long.term )?memory|as an? (?:verified|trusted|"
        r"permanent|established|confirmed)\b|"
        r"to (?:your |the )memory)|\bfrom now on\b[^.\n]{0,80}\b(?:you|always|answer|respond|reply|recommend|act|"
        r"ignore|must|never)\b|"
        r"\b(?:in|for) (?:all|every|any) (?:future|subsequent|later) (?:sessions?|conversations?|questions?|"
        r"requests?|answers?|responses?|tasks?)\b|"
        r"\b(?:if|when(?:ever)?|every time|any time)\s+(?:the |a |any )?(?:user|someone|anyone|customer|"
        r"question)s?\s+(?:ever\s+)?(?:mentions?|asks?|"
        r"says?|is|are|requests?|types?)\b[^.\n]{0,80}?,?\s*(?:always|then|you must|tell|recommend|answer|reply|"
        r"respond|say|send|call)\b|"
        r"\bwhenever\b[^.\n]{0,60}\b(?:is|are) (?:mentioned|asked|discussed)\b[^.\n]{0,10},?\s*\w+",
        "remember", "memor", "store", "save", "keep", "record", "note", "from now", "future", "subsequent",
        "later", "if ", "when", "time",
    ),
    rule(
        "skip_verification", "high",
        r"\b(?:no|without|skip(?:ping)?(?: the| any| all)?|do not|don.t|never|omit)\s+(?:need (?:to|for)\s+|"
        r"(?:any |further |additional |more |"
        r"the )*)(?:cross.?check(?:s|ing)?|verif(?:y|ying|ication)|fact.?check(?:s|ing)?|double.?check(?:ing)?|"
        r"citations?|corroborat\w+)"
        r"(?:\s+(?:or|and)\s+(?:\w+\s+){0,2}\w+)?\s*(?:is|are|was|step|steps|this|it|the|for|with|needed|"
        r"required|necessary|of|against|anything|other)|"
        r"\b(?:this|the) (?:page|source|document|site|article|text|passage|content|information) (?:is|has been|"
        r"was) (?:\w+ )?(?:verified|trusted|"
        r"authoritative|pre-?verified|fact.?checked|certified|approved)\b[^.\n]{0,80}\b(?:no|need not|not? need|"
        r"trust|skip|without|highest|"
        r"accept|treat|overrides?|supersedes?)\b|\b(?:trust|treat|accept|consider) (?:this|the following|"
        r"it)\b[^.\n]{0,50}\b(?:without "
        r"(?:question|check|verif)\w*|as (?:verified|ground truth|authoritative|absolute|fact|the truth|trusted))|"
        r"\btrust (?:score|level|rating)\s*[:=]\s*(?:1(?:\.0+)?|100|10|max\w*|high\w*)\b",
        "check", "verif", "citation", "corrob", "trust", "truth", "certified", "authorit", "approved", "accept",
    ),
    rule(
        "mode_switch", "high",
        r"\byou are (?:now|no longer|from now on)\s+(?:in\s+|an?\s+|going to\s+|acting\s+|free|dan\b|bound|"
        r"restricted|operating|entering|the\s+)"
        r"[^.\n]{0,40}\b(?:mode|unrestricted|restrictions?|jailbr\w+|dan|uncensored|evil|admin\w*|root|different|"
        r"free|limits|filter\w*|"
        r"assistant|ai|bound|model|developer)\b|\b(?:developer|maintenance|debug|god|admin|sudo|jailbreak|dan|"
        r"unrestricted) mode\b"
        r"[^.\n]{0,30}\b(?:enabled|activated|on|engaged|now|you|call|engage|enter)\b|\b(?:enter|enable|activate|"
        r"switch to|you are now in) "
        r"(?:the )?(?:developer|maintenance|debug|god|admin|sudo|jailbreak|dan|unrestricted) mode\b|\bdo "
        r"anything now\b",
        "you are", "mode", "anything now",
    ),
    rule(
        "prompt_leak", "high",
        r"\b(?:reveal|print|repeat|show|output|display|leak|expose|give|tell)\b[^.\n]{0,30}\b(?:your|the|its) "
        r"(?:\w+ )?(?:system|initial|hidden|"
        r"original|secret|full|developer) (?:prompt|instructions?|message)",
        "prompt", "instruction", "message",
    ),
    rule(
        "tool_order", "high",
        r"\b(?:call|invoke|run|execute|use|trigger)\s+(?:the\s+|your\s+|"
        r"this\s+)?[`'\"]?[a-z]+_[a-z_]+[`'\"]?\s*(?:tool|function|command|\(|now|with)?"
        r"(?=[^.\n]*\b(?:tool|function|now|must|immediately)\b|\()|\b(?:call|invoke|execute) the \w+ (?:tool|"
        r"function) (?:now|immediately|with|and|to)\b",
        "call", "invoke", "run", "execute", "use", "trigger",
    ),
    rule(
        "decode_and_obey", "high",
        r"\b(?:decode|decrypt|unscramble|de-?rot13|translate)\b[^.\n]{0,30}\b(?:and|then)\s+(?:\w+\s+)?(?:follow|"
        r"obey|execute|do|run|comply|act|perform)\b",
        "decode", "decrypt", "unscramble", "rot13", "translate",
    ),
    rule(
        "judge_order", "high",
        r"\b(?:as|dear|to|for|note to|attention)\s+(?:the\s+|a\s+|any\s+)?(?:judges?|graders?|evaluators?|"
        r"reviewers?|area chair|arbiter|verifiers?)\b"
        r"[^.\n]{0,60}\b(?:must|should|output|answer|reply|respond|give|score|mark|accept|return|print|approve|"
        r"rate|say)\b|"
        r"\b(?:judges?|graders?|evaluators?|reviewers?|arbiter|verifier)\b[^.\n]{0,12}\b(?:must|should|have to|"
        r"please|shall)\b[^.\n]{0,20}\b(?:output|answer|"
        r"reply|respond|give|score|mark|accept|return|print|approve|rate|say)\b[^.\n]{0,30}\b(?:a\b(?!\s+[a-z])|"
        r"correct|10|full|top|highest|maximum|only)\b|\b(?:mark|grade|score|rate|judge|classify|label) (?:this|"
        r"the|my)(?: \w+)? (?:answer|response|reply|submission|as)\b[^.\n]{0,30}\b(?:correct|a\b|10|full|pass\w*|"
        r"true|highest|perfect)",
        "judge", "grade", "evaluator", "reviewer", "chair", "arbiter", "verif", "score", "mark", "rate",
        "classify", "label",
    ),
    rule(
        "forged_verdict", "high",
        r"\b(?:final |overall |arbiter.?s? |area chair.?s? )(?:verdict|judge?ment|decision|grade|"
        r"ruling)\s*(?:is\s*)?[:=]?\s*[\"'*(\[]*\s*(?:a\b|b\b|correct|"
        r"true|pass\w*|approved|accepted|10)|(?:^|\n|[.!?]\s)\s*[*_#]*(?:verdict|judge?ment|is_correct|"
        r"grade)[*_]*\s*[:=]\s*[\"'*(\[]*\s*(?:a\b|correct|true|"
        r"pass\w*|approved|10\b)|[\"'](?:verdict|judge?ment|is_correct|score|label|p_correct|"
        r"support(?:ed)?)[\"']\s*:\s*(?:[\"'](?:a|correct|"
        r"supported|pass\w*|true)[\"']|true\b|10\b|1\.0|0\.9\d*)",
        "verdict", "judg", "decision", "grade", "ruling", "is_correct", "score", "label", "support", "p_correct",
    ),
    rule(
        "forged_review", "high",
        r"\b(?:evaluator|reviewer|grader|judge|area chair|assessor)(?:'s)?\s*(?:#?\s*[1-9]\s*)?(?:feedback|"
        r"report|score|verdict|review|comment)?\s*[:=]\s*[^\n]{0,40}"
        r"\b(?:score\s*[:=]?\s*\d|\d{1,2}\s*/\s*10|correct|approve|accept|pass|fully supported)|\b(?:evaluator|"
        r"reviewer|grader)\s*#?\s*[1-3]\s+"
        r"(?:feedback|report|score|review)\b|(?:reasoning|sourcing|credibility|validity)\s*(?:score|review|"
        r"reviewer)?\s*[:=]\s*(?:10|9)(?:\s*/\s*10)?\b",
        "evaluator", "reviewer", "grader", "judge", "chair", "assessor", "reasoning", "sourcing", "credib",
        "validity",
    ),
    rule(
        "fabrication_notice", "high",
        r"\b(?:the |this )?(?:context|text|passage|document|article|content|page) (?:has been|was|is) "
        r"(?:modified|altered|changed|edited|"
        r"rewritten|fabricated|made up|generated) (?:to|so|by|in order)\b|\bi (?:have )?(?:replaced|modified|"
        r"altered|fabricated|invented) "
        r"(?:\W?\w+\W? ){1,6}(?:with|in|to|so|for)\b|\bto make (?:the|this) (?:context|text|passage) (?:more "
        r")?(?:support\w*|consistent)",
        "modified", "altered", "changed", "edited", "rewritten", "fabricated", "made up", "generated", "replaced",
        "invented", "to make",
    ),
)  # fmt: skip
RULES += REQUEST_RULES
"""On folded text (lower case, look-alikes undone)."""

RAW_RULES: tuple[Rule, ...] = (
    rule(
        "hidden_markup", "high",
        r"<(\w+)[^>]{0,200}(?:display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0|"
        r"opacity\s*:\s*0(?![.\d])|(?<!-)color\s*:\s*(?:white|#fff(?:fff)?|"
        r"transparent|rgba?\(255,\s*255,\s*255)|(?:left|top|text-indent)\s*:\s*-\d{3,}|\bhidden\b(?=[\s>])|"
        r"aria-hidden\s*=\s*[\"']?true)[^>]{0,200}>[^<]{12,}",
    ),
    rule(
        "hidden_markup", "high",
        r"<!--(?=[^>]{0,400}\b(?:ignore|instruction|assistant|ai\b|llm|agent|system|you must|answer|prompt|"
        r"override|model|user)\b).{12,2000}?-->",
    ),
    rule(
        "hidden_markup", "high",
        r"\b(?:alt|title|aria-label|content|data-[\w-]+)\s*=\s*[\"'](?=[^\"']{0,300}\b(?:system|assistant|ignore|"
        r"instruction|you (?:are|must)|call the|tool|"
        r"ai (?:agent|assistant|model))\b)[^\"']{20,}[\"']",
    ),
)  # fmt: skip
"""On the raw text: mark-up that hides words from people."""

ANSWER_RULES: tuple[Rule, ...] = (
    rule(
        "authority", "medium",
        r"\b(?:verified|confirmed|certified|approved|validated) (?:by|as) (?:the |an? )?(?:\w+ ){0,3}(?:experts?|"
        r"authorit\w+|judges?|reviewers?|panel|"
        r"committee|ground truth|administrators?|openai|system|developers?)\b|\bthis answer (?:is|has been) "
        r"(?:\w+ )?(?:verified|correct|confirmed|"
        r"approved|checked|100%)|\b(?:ground truth|gold answer|reference answer) (?:is|matches|confirms|says)\b",
    ),
)  # fmt: skip
"""Only in an answer: claims of authority that evidence may well hold of others."""

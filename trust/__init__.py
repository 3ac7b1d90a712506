"""The trust part: judgment without ground truth, evidence checks, guard."""

"""How well contexts are found: functions by somebody who has not seen the rules, and what may be shared of them."""

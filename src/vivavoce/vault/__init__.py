"""Keys, and values sealed under them.

```
root key (key file, mode 0600)
├── seals each domain's data key        (envelope: a domain's rows open only with both)
├── seals the secrets of access keys
└── derives the key that signs stream tokens
domain key (random, one a domain)
├── seals voiceprints, speech, customer speaker ids, free text
└── derives the key of the blind index over customer speaker ids
```
"""

"""Keys, and values sealed under them.

```
root key (key file, mode 0600)
├── seals the secrets of access keys, tags, and the local keyring
└── derives the keys that sign stream tokens, page tokens and the audit log
customer key (local keyring or AWS KMS; named by KmsKeyId)
└── wraps domain keys, bound to the domain's ARN
domain key (random, one a domain; two while it is re-encrypted)
├── seals free text, and what sessions hold
├── seals the key of the blind index over customer speaker ids
└── seals the keys of speakers and fraudsters
speaker's or fraudster's key (random, one each, in its row: deleting the row destroys it)
└── seals voiceprint, speech, customer speaker id
```
"""

"""Raw text in, a token store out: on all cores of one machine, or by Apache Beam."""

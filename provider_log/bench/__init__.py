"""How fast is it, in one run, beside the bare log it stands on?"""
